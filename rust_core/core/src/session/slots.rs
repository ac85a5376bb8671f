//! What is kept under packet ids that mostly count upwards: each has its place by its low bits.
//!
//! Neighbouring ids stand side by side, so a burst and its acknowledgements walk through memory in one direction. An id
//! that stands in the way of a later one moves to a map, and whatever ids a client picks, each step costs O(1). The table
//! is kept when the last id has gone, for the next burst; whoever looks at idle sessions releases it.

use super::packet_id_map::PacketIdMap;

const FEWEST_PLACES: usize = 4;
/// A larger table is not kept while it is empty. A window of the default width (`mqtt.max_inflight`) fits.
const KEPT_PLACES: usize = 32;

/// A map from packet ids to `T`.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// A power of two, or none. An id is here or among the strays, never in both.
    places: Box<[Option<(u16, T)>]>,
    strays: Option<Box<PacketIdMap<T>>>,
    len: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Box::default(), strays: None, len: 0 }
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn get(&self, packet_id: u16) -> Option<&T> {
        match self.places.get(self.place_of(packet_id))? {
            Some((id, value)) if *id == packet_id => Some(value),
            _ => self.strays.as_ref()?.get(&packet_id),
        }
    }

    pub(super) fn get_mut(&mut self, packet_id: u16) -> Option<&mut T> {
        let place = self.place_of(packet_id);
        match self.places.get_mut(place)? {
            Some((id, value)) if *id == packet_id => Some(value),
            _ => self.strays.as_mut()?.get_mut(&packet_id),
        }
    }

    pub(super) fn contains(&self, packet_id: u16) -> bool {
        self.get(packet_id).is_some()
    }

    /// Puts `value` under an id that is not there.
    pub(super) fn insert(&mut self, packet_id: u16, value: T) {
        debug_assert!(!self.contains(packet_id), "the id is taken");
        while self.is_occupied(packet_id) && self.len() * 2 >= self.places.len() {
            self.grow();
        }
        let place = self.place_of(packet_id);
        let before = self.places.get_mut(place).and_then(|place| place.replace((packet_id, value)));
        if let Some((id, value)) = before {
            self.strays.get_or_insert_default().insert(id, value);
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, packet_id: u16) -> Option<T> {
        self.remove_if(packet_id, |_| true)
    }

    /// Takes out what stands under an id if `condition` holds for it.
    pub(super) fn remove_if(&mut self, packet_id: u16, condition: impl FnOnce(&T) -> bool) -> Option<T> {
        let place = self.place_of(packet_id);
        let removed = match self.places.get_mut(place)? {
            place @ Some(_) if place.as_ref().is_some_and(|(id, _)| *id == packet_id) => {
                place.take_if(|(_, value)| condition(value)).map(|(_, value)| value)
            }
            _ => {
                let strays = self.strays.as_mut()?;
                let value =
                    if strays.get(&packet_id).is_some_and(condition) { strays.remove(&packet_id) } else { None };
                if strays.is_empty() {
                    self.strays = None;
                }
                value
            }
        };
        if removed.is_some() {
            self.note_removed(1);
        }
        removed
    }

    /// Removes what `keep` refuses, asking in no particular order; returns how many went.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> usize {
        let before = self.len;
        let mut gone = 0;
        for place in &mut self.places {
            gone += u32::from(place.take_if(|(_, value)| !keep(value)).is_some());
        }
        if let Some(strays) = &mut self.strays {
            strays.retain(|_, value| {
                let is_kept = keep(value);
                gone += u32::from(!is_kept);
                is_kept
            });
            if strays.is_empty() {
                self.strays = None;
            }
        }
        self.note_removed(gone);
        (before - self.len) as usize
    }

    /// Everything, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &T)> {
        let strays = self.strays.iter().flat_map(|strays| strays.iter().map(|(id, value)| (*id, value)));
        self.places.iter().flatten().map(|(id, value)| (*id, value)).chain(strays)
    }

    /// Gives back the table of nothing.
    pub(super) fn release(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// Whether there is a table, be it empty.
    pub(super) fn has_heap(&self) -> bool {
        !self.places.is_empty()
    }

    fn place_of(&self, packet_id: u16) -> usize {
        usize::from(packet_id) & self.places.len().wrapping_sub(1)
    }

    /// Whether there is no place for an id, or another one stands there.
    fn is_occupied(&self, packet_id: u16) -> bool {
        self.places.get(self.place_of(packet_id)).is_none_or(Option::is_some)
    }

    fn grow(&mut self) {
        let len = (self.places.len() * 2).max(FEWEST_PLACES);
        let before = std::mem::replace(&mut self.places, std::iter::repeat_with(|| None).take(len).collect());
        for (packet_id, value) in before.into_iter().flatten() {
            // Ids that had places of their own among fewer have them among more.
            let place = self.place_of(packet_id);
            if let Some(place) = self.places.get_mut(place) {
                *place = Some((packet_id, value));
            }
        }
    }

    fn note_removed(&mut self, n: u32) {
        self.len -= n;
        if self.len == 0 && self.places.len() > KEPT_PLACES {
            self.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_of_neighbours_takes_no_more_places_than_it_has_ids() {
        let mut slots = Slots::default();
        for id in 100..132 {
            slots.insert(id, id);
        }
        assert_eq!((slots.len(), slots.places.len()), (32, 32));
        assert!(slots.strays.is_none());
    }

    #[test]
    fn an_id_in_the_way_of_later_ones_is_still_found_and_costs_no_larger_table() {
        let mut slots = Slots::default();
        slots.insert(3, 3);
        for id in 4..20_000 {
            slots.insert(id, id);
            assert_eq!((slots.get(3).copied(), slots.remove(id)), (Some(3), Some(id)));
        }
        assert_eq!((slots.len(), slots.places.len()), (1, 4));
        assert_eq!(slots.remove(3), Some(3));
        assert!(slots.strays.is_none());
    }

    #[test]
    fn a_small_table_is_kept_until_it_is_released_and_a_large_one_is_not() {
        let mut slots = Slots::default();
        slots.insert(1, ());
        slots.release();
        assert!(slots.contains(1));
        slots.remove(1);
        assert!(slots.has_heap());
        slots.release();
        assert!(!slots.has_heap());
        for id in 1..=33 {
            slots.insert(id, ());
        }
        assert_eq!(slots.retain(|()| false), 33);
        assert!(!slots.has_heap());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u16),
        Remove(u16),
        RemoveIfOdd(u16),
        RetainBelow(u32),
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let id = prop_oneof![1_u16..12, (0_u16..8).prop_map(|n| n * 64 + 1), 65_530..=u16::MAX];
        let step = prop_oneof![
            6 => id.clone().prop_map(Step::Insert),
            4 => id.clone().prop_map(Step::Remove),
            2 => id.prop_map(Step::RemoveIfOdd),
            1 => (0_u32..400).prop_map(Step::RetainBelow),
            1 => Just(Step::Release),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in steps()) {
            let (mut slots, mut map) = (Slots::default(), HashMap::new());
            for (value, step) in (0_u32..).zip(&steps) {
                match *step {
                    Step::Insert(id) if map.contains_key(&id) => {
                        *slots.get_mut(id).unwrap() = value;
                        map.insert(id, value);
                    }
                    Step::Insert(id) => {
                        slots.insert(id, value);
                        map.insert(id, value);
                    }
                    Step::Remove(id) => prop_assert_eq!(slots.remove(id), map.remove(&id)),
                    Step::RemoveIfOdd(id) => {
                        let is_odd = map.get(&id).is_some_and(|value| value % 2 == 1);
                        let expected = if is_odd { map.remove(&id) } else { None };
                        prop_assert_eq!(slots.remove_if(id, |value| value % 2 == 1), expected);
                    }
                    Step::RetainBelow(bound) => {
                        let before = map.len();
                        map.retain(|_, value| *value < bound);
                        prop_assert_eq!(slots.retain(|value| *value < bound), before - map.len());
                    }
                    Step::Release => slots.release(),
                }
                prop_assert_eq!(slots.len(), map.len());
                let found: HashMap<u16, u32> = slots.iter().map(|(id, value)| (id, *value)).collect();
                prop_assert_eq!(&found, &map);
                prop_assert!(map.keys().all(|id| slots.contains(*id)));
            }
        }
    }
}
