//! The subscribers of one filter, or the members of one share group: who, with which options.
//!
//! The list is dense, so that a match copies it in one go; a wide list also has an index by subscriber. A leaving
//! subscriber's place goes to the last one, so the order is not that of joining.

use hashbrown::HashTable;

use super::SubscriberId;
use super::subscriber::{Member, PackedOptions};

/// From this length on members are found by index; below it a scan of 12-byte entries is as fast.
const INDEX_FROM: usize = 32;

/// A set of subscribers with their options.
#[derive(Debug, Default)]
pub(crate) struct Members {
    list: Vec<Member>,
    /// Positions in `list` by subscriber; empty while the list is short.
    index: HashTable<u32>,
}

impl Members {
    pub(crate) fn as_slice(&self) -> &[Member] {
        &self.list
    }

    pub(crate) fn position(&self, id: SubscriberId) -> Option<usize> {
        if self.index.is_empty() {
            return self.list.iter().position(|&(other, _)| other == id);
        }
        self.index.find(id_hash(id), |&at| self.is_at(at, id)).map(|&at| at as usize)
    }

    fn is_at(&self, at: u32, id: SubscriberId) -> bool {
        self.list.get(at as usize).is_some_and(|&(other, _)| other == id)
    }

    pub(crate) fn get(&self, id: SubscriberId) -> Option<PackedOptions> {
        Some(self.list.get(self.position(id)?)?.1)
    }

    /// Adds or replaces; returns the options that were there.
    pub(crate) fn insert(&mut self, id: SubscriberId, options: PackedOptions) -> Option<PackedOptions> {
        if let Some(entry) = self.position(id).and_then(|at| self.list.get_mut(at)) {
            return Some(std::mem::replace(&mut entry.1, options));
        }
        self.list.push((id, options));
        if self.list.len() == INDEX_FROM {
            for at in 0..self.list.len() {
                self.add_to_index(at);
            }
        } else if self.list.len() > INDEX_FROM {
            self.add_to_index(self.list.len() - 1);
        }
        None
    }

    pub(crate) fn remove(&mut self, id: SubscriberId) -> Option<PackedOptions> {
        let at = self.position(id)?;
        let last = self.list.len() - 1;
        if !self.index.is_empty() {
            self.remove_from_index(at);
            if at != last {
                self.remove_from_index(last);
            }
        }
        let (_, options) = self.list.swap_remove(at);
        if self.list.len() < INDEX_FROM {
            self.index = HashTable::new();
        } else if at != last {
            self.add_to_index(at);
        }
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
        }
        Some(options)
    }

    fn add_to_index(&mut self, at: usize) {
        let Self { list, index } = self;
        let hash_of = |&at: &u32| list.get(at as usize).map_or(0, |&(id, _)| id_hash(id));
        // A list holds at most one entry per `SubscriberId`, hence fewer than 2^32.
        if let Ok(at) = u32::try_from(at) {
            index.insert_unique(hash_of(&at), at, hash_of);
        }
    }

    fn remove_from_index(&mut self, at: usize) {
        let Some(&(id, _)) = self.list.get(at) else {
            return;
        };
        if let Ok(entry) = self.index.find_entry(id_hash(id), |&other| other as usize == at) {
            entry.remove();
        }
    }
}

/// Session slots are ours, not the client's: mixing the bits is enough.
fn id_hash(id: SubscriberId) -> u64 {
    let mixed = u64::from(id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests {
    use super::super::SubscriptionOptions;
    use super::*;

    fn options(subscription_id: u32) -> PackedOptions {
        SubscriptionOptions { subscription_id, ..SubscriptionOptions::default() }.into()
    }

    #[test]
    fn members_are_found_while_the_list_grows_and_shrinks() {
        let mut members = Members::default();
        for number in 0..1_000 {
            assert_eq!(members.insert(SubscriberId(number), options(number)), None);
        }
        for number in (0..1_000).filter(|number| number % 7 != 0) {
            assert_eq!(members.remove(SubscriberId(number)), Some(options(number)));
            assert_eq!(members.remove(SubscriberId(number)), None);
            assert_eq!(members.index.len(), members.list.len());
        }
        for number in (0..1_000).step_by(7) {
            assert_eq!(members.get(SubscriberId(number)), Some(options(number)));
        }
        assert_eq!(members.as_slice().len(), 143);
        for number in (7..1_000).step_by(7) {
            assert!(members.remove(SubscriberId(number)).is_some());
        }
        assert_eq!(members.position(SubscriberId(0)), Some(0));
        assert!(members.index.is_empty() && members.list.capacity() <= 8);
    }

    #[test]
    fn a_second_insert_replaces_the_options() {
        let mut members = Members::default();
        members.insert(SubscriberId(1), options(5));
        assert_eq!(members.insert(SubscriberId(1), options(6)), Some(options(5)));
        assert_eq!(members.as_slice(), [(SubscriberId(1), options(6))]);
    }
}
