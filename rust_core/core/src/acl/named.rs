//! Lists by the name that they are for, in parts: a copy shares every part but those in which something changes.
//!
//! One table of 100,000 lists would be copied whole for the change of a single one, and every list touched.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::list::List;

/// Lists of a part, on average, from which on there are to be more parts.
const FULL: usize = 128;

/// How many parts come of one.
const SPLIT: usize = 4;

/// Parts at most; 100,000 lists fill them.
const MAX_PARTS: usize = 1024;

/// The bits of a hash that choose the part are others than those by which its table goes.
const SHIFT: u32 = 24;

type Part = HashTable<Arc<List>>;

/// Lists by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    /// None, or a power of `SPLIT`.
    parts: Vec<Arc<Part>>,
    count: usize,
}

impl Named {
    /// The list of a name.
    pub(super) fn find(&self, name: &str, hasher: &RandomState) -> Option<&Arc<List>> {
        if self.count == 0 {
            return None;
        }
        let hash = hasher.hash_one(name);
        self.parts.get(self.place(hash))?.find(hash, |list| *list.name == *name)
    }

    /// Sets or removes the list of one name and returns the one that was there.
    pub(super) fn put(&mut self, name: &str, list: Option<Arc<List>>, hasher: &RandomState) -> Option<Arc<List>> {
        if self.count >= FULL * self.parts.len() && self.parts.len() < MAX_PARTS && list.is_some() {
            self.split(hasher);
        }
        let hash = hasher.hash_one(name);
        let place = self.place(hash);
        let part = Arc::make_mut(self.parts.get_mut(place)?);
        match (part.entry(hash, |list| *list.name == *name, rehash(hasher)), list) {
            (Entry::Occupied(mut old), Some(list)) => Some(std::mem::replace(old.get_mut(), list)),
            (Entry::Occupied(old), None) => {
                self.count -= 1;
                Some(old.remove().0)
            }
            (Entry::Vacant(place), Some(list)) => {
                place.insert(list);
                self.count += 1;
                None
            }
            (Entry::Vacant(_), None) => None,
        }
    }

    fn place(&self, hash: u64) -> usize {
        (hash >> SHIFT) as usize & self.parts.len().wrapping_sub(1)
    }

    fn split(&mut self, hasher: &RandomState) {
        let count = (self.parts.len() * SPLIT).max(1);
        let lists: Vec<_> = self.parts.drain(..).flat_map(Arc::unwrap_or_clone).collect();
        let mut parts = vec![Part::new(); count];
        // From here on `place` counts with the new number.
        self.parts.resize_with(count, Arc::default);
        for list in lists {
            let hash = hasher.hash_one(&*list.name);
            if let Some(part) = parts.get_mut(self.place(hash)) {
                part.insert_unique(hash, list, rehash(hasher));
            }
        }
        self.parts = parts.into_iter().map(Arc::new).collect();
    }
}

fn rehash(hasher: &RandomState) -> impl Fn(&Arc<List>) -> u64 {
    |list| hasher.hash_one(&*list.name)
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Profile, Settings, SubscribeMatch, TemplateAllow};
    use super::*;

    fn list(name: &str, hasher: &RandomState) -> Arc<List> {
        let settings = Settings {
            subscribe_match: SubscribeMatch::Strict,
            profile: Profile::Legacy,
            template_allow: TemplateAllow::default(),
            allows_partial_placeholders: false,
        };
        Arc::new(List::new(name.into(), Vec::new(), Vec::new(), settings, hasher))
    }

    fn named(count: usize, hasher: &RandomState) -> Named {
        let mut named = Named::default();
        for number in 0..count {
            let name = format!("c{number}");
            assert!(named.put(&name, Some(list(&name, hasher)), hasher).is_none());
        }
        named
    }

    #[test]
    fn every_list_is_found_however_many_there_are() {
        let hasher = RandomState::default();
        for count in [0, 1, FULL, FULL + 1, 20_000] {
            let named = named(count, &hasher);
            for number in 0..count {
                let name = format!("c{number}");
                assert_eq!(&*named.find(&name, &hasher).unwrap().name, name);
            }
            assert!(named.find("nobody", &hasher).is_none());
        }
    }

    #[test]
    fn list_that_was_removed_is_gone() {
        let hasher = RandomState::default();
        let mut named = named(1_000, &hasher);
        assert!(named.put("c7", None, &hasher).is_some());
        assert!(named.put("c7", None, &hasher).is_none());
        assert!(named.find("c7", &hasher).is_none());
        assert_eq!(named.count, 999);
    }

    #[test]
    fn copy_shares_every_part_that_has_not_changed() {
        let hasher = RandomState::default();
        let before = named(20_000, &hasher);
        let mut after = before.clone();
        after.put("c7", Some(list("c7", &hasher)), &hasher);
        let shared = before.parts.iter().zip(&after.parts).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!(shared, before.parts.len() - 1);
        let largest = after.parts.iter().map(|part| part.len()).max().unwrap();
        assert!(largest < 4 * FULL, "{largest}");
    }
}
