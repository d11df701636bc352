//! All resources, each found by its number and by its key.
//!
//! Owns the numbers, and the index of keys. Must not know what a resource is for. The index has numbers only, four bytes
//! each: the keys are in the resources.

use crate::engine::{ROOM_KEPT, give_empty_room_back};
use crate::model::Key;
use crate::resource::Resource;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use std::hash::BuildHasher;
use std::ops::{Index, IndexMut};

/// The resources.
#[derive(Default)]
pub(crate) struct Resources {
    all: Slab<Resource>,
    by_key: HashTable<u32>,
    hasher: RandomState,
}

impl Resources {
    pub(crate) fn find(&self, key: &Key) -> Option<usize> {
        let found = self.by_key.find(self.hasher.hash_one(key), |&number| self[number as usize].key == *key);
        found.map(|&number| number as usize)
    }

    /// Takes a resource in whose key has none yet.
    pub(crate) fn insert(&mut self, resource: Resource) -> usize {
        let hash = self.hasher.hash_one(&resource.key);
        let resource = self.all.insert(resource);
        let number = u32::try_from(resource).expect("memory ends before the numbers do");
        self.by_key.insert_unique(hash, number, |&other| self.hasher.hash_one(&self.all[other as usize].key));
        resource
    }

    pub(crate) fn remove(&mut self, resource: usize) -> Resource {
        let hash = self.hasher.hash_one(&self[resource].key);
        if let Ok(number) = self.by_key.find_entry(hash, |&number| number as usize == resource) {
            number.remove();
        }
        self.all.remove(resource)
    }

    pub(crate) fn get(&self, resource: usize) -> Option<&Resource> {
        self.all.get(resource)
    }

    pub(crate) fn get_mut(&mut self, resource: usize) -> Option<&mut Resource> {
        self.all.get_mut(resource)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Resource)> {
        self.all.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// What a crowd needed goes back when the crowd is gone (H16).
    pub(crate) fn give_room_back(&mut self) {
        give_empty_room_back(&mut self.all);
        let room = self.by_key.capacity();
        if room > ROOM_KEPT && self.by_key.len() < room / 8 {
            let hash = |&number: &u32| self.hasher.hash_one(&self.all[number as usize].key);
            self.by_key.shrink_to(room / 4, hash);
        }
    }
}

impl Index<usize> for Resources {
    type Output = Resource;

    fn index(&self, resource: usize) -> &Resource {
        &self.all[resource]
    }
}

impl IndexMut<usize> for Resources {
    fn index_mut(&mut self, resource: usize) -> &mut Resource {
        &mut self.all[resource]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WHOLE;

    fn key(number: usize) -> Key {
        Key::new(&number.to_string()).expect("a number is a key")
    }

    #[test]
    fn a_crowd_of_keys_is_found_and_leaves_no_room_behind() {
        let mut resources = Resources::default();
        let numbers: Vec<usize> =
            (0..10_000).map(|number| resources.insert(Resource::new(key(number), WHOLE))).collect();
        for (text, &number) in numbers.iter().enumerate() {
            assert_eq!(resources.find(&key(text)), Some(number));
        }
        for &number in &numbers[1..] {
            resources.remove(number);
            resources.give_room_back();
        }
        assert_eq!((resources.len(), resources.find(&key(0))), (1, Some(numbers[0])));
        assert_eq!(resources.find(&key(1)), None);
        assert!(resources.by_key.capacity() <= 2 * ROOM_KEPT, "{}", resources.by_key.capacity());
    }
}
