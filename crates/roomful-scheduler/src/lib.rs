//! Which encoding of each video a subscriber gets, when not everything gets through.
//!
//! [`allocate`] is a pure function of a budget and of wishes. It deliberately knows no rooms, no packets and no time; who
//! estimates the budget and who acts on the result is somebody else's business.
//!
//! ```
//! use roomful_scheduler::{Wish, allocate};
//! use roomful_types::{Bitrate, Rid};
//!
//! let encodings = [Rid::High, Rid::Medium, Rid::Low].into_iter().zip([1200, 400, 100].map(Bitrate::from_kbps)).collect();
//! let wish = Wish { priority: 0, limit: Rid::High, encodings, current: None };
//! assert_eq!(allocate(Bitrate::from_kbps(600), &[wish]), [Some(Rid::Medium)]);
//! ```

use roomful_types::{Bitrate, Rid};

/// What a subscriber wants of one video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who gets less first: the lower one. Among equals, the later one.
    pub priority: u8,
    /// The best encoding that is of use.
    pub limit: Rid,
    /// What there is, best first, and what each takes.
    pub encodings: Vec<(Rid, Bitrate)>,
    /// What it gets now. Something better is given only when there is a tenth more room than it needs, so that an estimate
    /// that moves a little does not move the picture.
    pub current: Option<Rid>,
}

/// Shares a budget out. Returns the encoding of each wish, in their order; none for those that there is no room for.
///
/// By priority, everybody gets its smallest encoding first; then, again by priority, everybody gets the best one that the rest of
/// the budget allows. What is handed out is never more than the budget. Costs O(n log n).
#[must_use]
pub fn allocate(budget: Bitrate, wishes: &[Wish]) -> Vec<Option<Rid>> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(wishes[*index].priority), *index));
    let mut left = budget.as_bps();
    let mut given: Vec<Option<(Rid, u64)>> = vec![None; wishes.len()];
    for index in &order {
        let wish = &wishes[*index];
        if let Some((rid, bps)) = wish.useful().last()
            && wish.fits(rid, bps, left)
        {
            left -= bps;
            given[*index] = Some((rid, bps));
        }
    }
    for index in &order {
        let Some((_, held)) = given[*index] else { continue };
        let wish = &wishes[*index];
        let room = left + held;
        if let Some((rid, bps)) = wish.useful().find(|(rid, bps)| wish.fits(*rid, *bps, room) && *bps >= held)
        {
            left = room - bps;
            given[*index] = Some((rid, bps));
        }
    }
    given.into_iter().map(|one| one.map(|(rid, _)| rid)).collect()
}

impl Wish {
    /// Returns the encodings that are not better than wanted; the smallest one if all are.
    fn useful(&self) -> impl Iterator<Item = (Rid, u64)> {
        let smallest = self.encodings.last().map(|(rid, _)| *rid);
        let is_useful = move |rid: Rid| rid <= self.limit || Some(rid) == smallest;
        self.encodings.iter().filter(move |(rid, _)| is_useful(*rid)).map(|(rid, rate)| (*rid, rate.as_bps()))
    }

    fn fits(&self, rid: Rid, bps: u64, room: u64) -> bool {
        let is_better = self.current.is_none_or(|current| rid > current);
        let needed = if is_better { bps.saturating_add(bps / 10) } else { bps };
        needed <= room
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish() -> impl Strategy<Value = Wish> {
        let rates = [300..3000u64, 100..300, 20..100];
        (0..3u8, 0..3usize, 1..=3usize, rates, prop::option::of(0..3usize)).prop_map(
            |(priority, limit, count, rates, current)| {
                let all = Rid::ALL.into_iter().zip(rates.map(Bitrate::from_kbps));
                let encodings = all.skip(3 - count).collect();
                let current = current.map(|index| Rid::ALL[index]);
                Wish { priority, limit: Rid::ALL[limit], encodings, current }
            },
        )
    }

    fn rate(wish: &Wish, rid: Option<Rid>) -> u64 {
        let found = wish.encodings.iter().find(|(one, _)| Some(*one) == rid);
        found.map_or(0, |(_, rate)| rate.as_bps())
    }

    /// How good an allocation is by the scheduler's own ordering: who is served at all, by priority, then how well.
    fn rank(wishes: &[Wish], given: &[Option<Rid>]) -> (Vec<bool>, Vec<u64>) {
        let mut order: Vec<usize> = (0..wishes.len()).collect();
        order.sort_by_key(|index| (std::cmp::Reverse(wishes[*index].priority), *index));
        let served = order.iter().map(|index| given[*index].is_some()).collect();
        (served, order.iter().map(|index| rate(&wishes[*index], given[*index])).collect())
    }

    #[test]
    fn the_lower_priority_gives_way() {
        let encodings: Vec<_> = Rid::ALL.into_iter().zip([1200, 400, 100].map(Bitrate::from_kbps)).collect();
        let wish =
            |priority| Wish { priority, limit: Rid::High, encodings: encodings.clone(), current: None };
        let wishes = [wish(0), wish(9)];
        let at = |kbps| allocate(Bitrate::from_kbps(kbps), &wishes);
        assert_eq!(at(2700), [Some(Rid::High), Some(Rid::High)]);
        assert_eq!(at(1900), [Some(Rid::Medium), Some(Rid::High)]);
        assert_eq!(at(560), [Some(Rid::Low), Some(Rid::Medium)]);
        assert_eq!(at(150), [None, Some(Rid::Low)]);
        assert_eq!(at(90), [None, None]);
    }

    #[test]
    fn what_comes_stays_while_it_fits_and_better_needs_room_to_spare() {
        let encodings = vec![(Rid::High, Bitrate::from_kbps(1000)), (Rid::Low, Bitrate::from_kbps(100))];
        let at = |current, kbps| {
            let wish = Wish { priority: 0, limit: Rid::High, encodings: encodings.clone(), current };
            allocate(Bitrate::from_kbps(kbps), &[wish])[0]
        };
        assert_eq!(at(Some(Rid::High), 1000), Some(Rid::High));
        assert_eq!(at(Some(Rid::Low), 1050), Some(Rid::Low));
        assert_eq!(at(Some(Rid::Low), 1100), Some(Rid::High));
    }

    proptest! {
        #[test]
        fn no_more_is_handed_out_than_there_is(wishes in prop::collection::vec(wish(), 0..12), kbps in 0..9000u64) {
            let budget = Bitrate::from_kbps(kbps);
            let given = allocate(budget, &wishes);
            prop_assert_eq!(given.len(), wishes.len());
            let total: u64 = wishes.iter().zip(&given).map(|(wish, rid)| rate(wish, *rid)).sum();
            prop_assert!(total <= budget.as_bps());
        }

        #[test]
        fn nobody_gets_better_than_it_can_use(wishes in prop::collection::vec(wish(), 0..12), kbps in 0..99_000u64) {
            for (wish, given) in wishes.iter().zip(allocate(Bitrate::from_kbps(kbps), &wishes)) {
                let Some(rid) = given else { continue };
                let smallest = wish.encodings.last().map(|(rid, _)| *rid);
                prop_assert!(rid <= wish.limit || Some(rid) == smallest);
            }
        }

        #[test]
        fn more_room_is_never_worse(
            wishes in prop::collection::vec(wish(), 0..8),
            kbps in 0..9000u64,
            more in 0..9000u64,
        ) {
            let (less, more) = (Bitrate::from_kbps(kbps), Bitrate::from_kbps(kbps + more));
            let ranks = [less, more].map(|budget| rank(&wishes, &allocate(budget, &wishes)));
            prop_assert!(ranks[0] <= ranks[1], "{:?} {:?}", ranks[0], ranks[1]);
        }

        #[test]
        fn the_first_in_priority_gets_what_it_would_get_alone_among_the_smallest(
            wishes in prop::collection::vec(wish(), 1..8),
            kbps in 0..9000u64,
        ) {
            let budget = Bitrate::from_kbps(kbps);
            let first = (0..wishes.len()).min_by_key(|index| (std::cmp::Reverse(wishes[*index].priority), *index));
            let first = first.expect("at least one");
            let alone = allocate(budget, &wishes[first..=first])[0];
            let among = allocate(budget, &wishes)[first];
            prop_assert_eq!(alone.is_some(), among.is_some(), "served whenever it could be served alone");
        }
    }
}
