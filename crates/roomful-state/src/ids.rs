//! The streams of one participant: few, so a sorted list beats a map.

use roomful_types::{StreamId, StreamKey};

/// Ids of a participant's streams by key, in the order of the keys.
///
/// Takes 32 bytes per stream, where a `BTreeMap` takes a node of 370 for the first one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamIds(Vec<(StreamKey, StreamId)>);

impl StreamIds {
    /// Returns how many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the stream of this key.
    #[must_use]
    pub fn get(&self, key: &StreamKey) -> Option<&StreamId> {
        self.place(key).ok().map(|index| &self.0[index].1)
    }

    /// Returns whether there is a stream of this key.
    #[must_use]
    pub fn contains_key(&self, key: &StreamKey) -> bool {
        self.place(key).is_ok()
    }

    /// Walks over keys and ids, in the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&StreamKey, &StreamId)> {
        self.0.iter().map(|(key, id)| (key, id))
    }

    /// Walks over the keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &StreamKey> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Walks over the ids, in the order of the keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &StreamId> {
        self.0.iter().map(|(_, id)| id)
    }

    pub(crate) fn insert(&mut self, key: StreamKey, id: StreamId) {
        match self.place(&key) {
            Ok(index) => self.0[index].1 = id,
            Err(index) => {
                // Most participants have one; doubling would waste a place on each.
                self.0.reserve_exact(1);
                self.0.insert(index, (key, id));
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &StreamKey) {
        if let Ok(index) = self.place(key) {
            self.0.remove(index);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn place(&self, key: &StreamKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(one, _)| one.cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec(("[a-d]", any::<bool>(), any::<[u8; 16]>()), 0..40)) {
            let (mut ids, mut map) = (StreamIds::default(), BTreeMap::new());
            for (name, inserts, bytes) in steps {
                let (key, id) = (StreamKey::new(&name).expect("short"), StreamId::from_random(bytes));
                if inserts {
                    ids.insert(key.clone(), id);
                    map.insert(key.clone(), id);
                } else {
                    ids.remove(&key);
                    map.remove(&key);
                }
                prop_assert_eq!(ids.get(&key), map.get(&key));
                prop_assert!(ids.iter().eq(map.iter()));
            }
        }
    }
}
