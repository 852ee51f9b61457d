//! The rules of every store, against the one in memory.

use proptest::prelude::*;

use super::*;

const ALL: Page = Page { number: 1, size: 250 };

fn id(number: u8) -> RoomId {
    RoomId::from_random([number; 16])
}

fn named(number: u8, name: &str) -> Room {
    Room { unique_name: Some(name.to_owned()), ..Room::new(id(number), 100, u64::from(number) * 1000) }
}

fn rename(name: Option<&str>) -> RoomChange {
    RoomChange { unique_name: Some(name.map(str::to_owned)), ..RoomChange::default() }
}

#[test]
fn a_room_is_found_by_id_and_by_name() {
    let store = MemoryStore::default();
    let room = named(1, "lobby");
    assert_eq!(store.create_room(room.clone()), Ok(()));
    assert_eq!(store.room(id(1)), Some(room.clone()));
    assert_eq!(store.room_by_name("lobby"), Some(room));
    assert_eq!(store.room(id(2)), None);
    assert_eq!(store.room_by_name("Lobby"), None);
}

#[test]
fn ids_and_names_are_unique() {
    let store = MemoryStore::default();
    store.create_room(named(1, "lobby")).unwrap();
    assert_eq!(store.create_room(named(1, "other")), Err(StoreError::IdTaken));
    assert_eq!(store.create_room(named(2, "lobby")), Err(StoreError::NameTaken));
    store.create_room(named(2, "stage")).unwrap();
    assert_eq!(store.update_room(id(2), rename(Some("lobby")), 0), Err(StoreError::NameTaken));
    assert_eq!(store.room(id(2)), Some(named(2, "stage")));
}

#[test]
fn a_store_is_bounded() {
    let store = MemoryStore::new(2);
    store.create_room(Room::new(id(1), 1, 0)).unwrap();
    store.create_room(Room::new(id(2), 1, 0)).unwrap();
    assert_eq!(store.create_room(Room::new(id(3), 1, 0)), Err(StoreError::Full { max: 2 }));
    store.delete_room(id(1)).unwrap();
    assert_eq!(store.create_room(Room::new(id(3), 1, 0)), Ok(()));
}

#[test]
fn a_change_touches_only_what_it_sets() {
    let store = MemoryStore::default();
    store.create_room(named(1, "lobby")).unwrap();
    let change = RoomChange { max_participants: Some(7), ..RoomChange::default() };
    let expected = Room { max_participants: 7, updated_at_unix_ms: 5000, ..named(1, "lobby") };
    assert_eq!(store.update_room(id(1), change, 5000), Ok(expected));
    assert_eq!(store.update_room(id(9), RoomChange::default(), 0), Err(StoreError::NotFound));
}

#[test]
fn a_name_that_was_given_up_is_free() {
    let store = MemoryStore::default();
    store.create_room(named(1, "lobby")).unwrap();
    store.update_room(id(1), rename(Some("lobby")), 1).unwrap();
    store.update_room(id(1), rename(Some("stage")), 2).unwrap();
    assert_eq!(store.room_by_name("lobby"), None);
    store.update_room(id(1), rename(None), 3).unwrap();
    assert_eq!(store.room_by_name("stage"), None);
    store.create_room(named(2, "lobby")).unwrap();
    store.delete_room(id(2)).unwrap();
    assert_eq!(store.delete_room(id(2)), Err(StoreError::NotFound));
    assert_eq!(store.create_room(named(3, "lobby")), Ok(()));
}

#[test]
fn a_filter_is_half_open() {
    let store = MemoryStore::default();
    for number in 1..=5 {
        store.create_room(named(number, &format!("room {number}"))).unwrap();
    }
    let filter = RoomFilter { created_at_unix_ms: 2000..4000, ..RoomFilter::default() };
    assert_eq!(store.rooms(&filter, ALL).rooms, [named(2, "room 2"), named(3, "room 3")]);
    let filter = RoomFilter { unique_name: Some("room 5".to_owned()), ..RoomFilter::default() };
    assert_eq!(store.rooms(&filter, ALL), RoomPage { rooms: vec![named(5, "room 5")], total: 1 });
    store.update_room(id(1), RoomChange::default(), 9000).unwrap();
    let filter = RoomFilter { updated_at_unix_ms: 9000..9001, ..RoomFilter::default() };
    assert_eq!(store.rooms(&filter, ALL).total, 1);
}

proptest! {
    #[test]
    fn pages_in_order_give_the_whole_list(count in 0..30_u8, size in 1..12_u64) {
        let store = MemoryStore::default();
        for number in 0..count {
            store.create_room(Room::new(id(number), 1, 0)).unwrap();
        }
        let mut seen = Vec::new();
        for number in 1..=u64::from(count).div_ceil(size) + 1 {
            let page = store.rooms(&RoomFilter::default(), Page { number, size });
            prop_assert_eq!(page.total, u64::from(count));
            seen.extend(page.rooms.into_iter().map(|room| room.id));
        }
        prop_assert_eq!(seen, (0..count).map(id).collect::<Vec<_>>());
        prop_assert_eq!(store.rooms(&RoomFilter::default(), Page { number: u64::MAX, size }).rooms, []);
    }
}
