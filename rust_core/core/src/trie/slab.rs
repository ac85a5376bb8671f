//! Storage by index: an `Arena` that grows in chunks and a `Slab` that reuses its slots.
//!
//! Chunks mean that growth never copies what is there (no pause under a write lock, no doubled peak). A slab slot counts
//! its generations, so that a key kept by a session is never mistaken for the slot's next tenant. Indexes are our own;
//! nothing from outside reaches `Index` unchecked.

use std::ops::{Index, IndexMut};

/// Index that names nothing.
pub(crate) const NONE: u32 = u32::MAX;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// A growing array of `T` in chunks of 1,024; the first chunk grows by doubling, so a small arena stays small.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Appends and returns the index.
    ///
    /// # Panics
    /// After 2^32 - 1 items; memory ends long before.
    pub(crate) fn push(&mut self, item: T) -> u32 {
        let index = self.len;
        assert!(index < NONE, "arena is full");
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(item),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.chunks.push(chunk);
            }
            None => self.chunks.push(vec![item]),
        }
        self.len += 1;
        index
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize >> CHUNK_BITS)?.get(index as usize & (CHUNK - 1))
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks.get_mut(index as usize >> CHUNK_BITS)?.get_mut(index as usize & (CHUNK - 1))
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize >> CHUNK_BITS][index as usize & (CHUNK - 1)]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize >> CHUNK_BITS][index as usize & (CHUNK - 1)]
    }
}

/// `owner` is the tenant's back reference, or the next free slot while there is no tenant.
#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    owner: u32,
    item: Option<T>,
}

/// Slots for `T`, each with a back reference and a generation; freed slots are used again, last freed first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Arena<Entry<T>>,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Arena::new(), free: NONE, len: 0 }
    }

    /// Number of slots with a tenant.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Number of slots ever used: the upper bound of a walk by index.
    pub(crate) const fn slots(&self) -> u32 {
        self.entries.len()
    }

    pub(crate) fn insert(&mut self, owner: u32, item: T) -> u32 {
        self.len += 1;
        let slot = self.free;
        let Some(entry) = self.entries.get_mut(slot) else {
            return self.entries.push(Entry { generation: 0, owner, item: Some(item) });
        };
        self.free = entry.owner;
        entry.owner = owner;
        entry.item = Some(item);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let entry = self.entries.get_mut(slot)?;
        let item = entry.item.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        entry.owner = self.free;
        self.free = slot;
        self.len -= 1;
        Some(item)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot)?.item.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot)?.item.as_mut()
    }

    /// The tenant and its owner.
    pub(crate) fn tenant(&self, slot: u32) -> Option<(u32, &T)> {
        let entry = self.entries.get(slot)?;
        Some((entry.owner, entry.item.as_ref()?))
    }

    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.entries.get(slot).map_or(0, |entry| entry.generation)
    }

    /// Whether the slot still holds the tenant it had in that generation.
    pub(crate) fn holds(&self, slot: u32, generation: u32) -> bool {
        self.entries.get(slot).is_some_and(|entry| entry.generation == generation && entry.item.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_reused_under_a_new_generation() {
        let mut slab = Slab::new();
        let first = slab.insert(7, "a");
        let generation = slab.generation(first);
        assert!(slab.holds(first, generation));
        assert_eq!(slab.remove(first), Some("a"));
        assert_eq!(slab.remove(first), None);
        assert!(!slab.holds(first, generation));
        assert_eq!(slab.insert(8, "b"), first);
        assert!(!slab.holds(first, generation));
        assert_eq!(slab.tenant(first), Some((8, &"b")));
        assert_eq!((slab.len(), slab.slots()), (1, 1));
    }

    #[test]
    fn an_arena_keeps_its_items_over_chunk_borders() {
        let mut arena = Arena::new();
        for number in 0..3_000_u32 {
            assert_eq!(arena.push(number), number);
        }
        assert!((0..3_000).all(|number| arena[number] == number && arena.get(number) == Some(&number)));
        assert_eq!(arena.get(3_000), None);
        assert_eq!(arena.get(NONE), None);
    }
}
