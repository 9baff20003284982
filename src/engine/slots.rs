//! Slots: a table whose keys are never mistaken for later ones.

/// Values under tokens. A token carries the slot's generation: once its value is gone, it finds
/// nothing, even when the slot is used again: an event that was on its way reaches nobody else.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The head of the list of free slots.
    free: u32,
    count: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Value(T),
    /// The next free slot.
    Free(u32),
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots { slots: Vec::new(), free: NONE, count: 0 }
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The token that the next value will have.
    pub(crate) fn next(&self) -> u64 {
        match self.slots.get(self.free as usize) {
            Some(slot) => u64::from(slot.generation) << 32 | u64::from(self.free),
            None => self.slots.len() as u64,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> u64 {
        self.count += 1;
        if self.free == NONE {
            self.slots.push(Slot { generation: 0, content: Content::Value(value) });
            return (self.slots.len() - 1) as u64;
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        if let Content::Free(next) = slot.content {
            self.free = next;
        }
        slot.content = Content::Value(value);
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    pub(crate) fn get_mut(&mut self, token: u64) -> Option<&mut T> {
        match self.slots.get_mut(token as u32 as usize) {
            Some(Slot { generation, content: Content::Value(value) })
                if u64::from(*generation) == token >> 32 =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    pub(crate) fn get(&self, token: u64) -> Option<&T> {
        match self.slots.get(token as u32 as usize) {
            Some(Slot { generation, content: Content::Value(value) })
                if u64::from(*generation) == token >> 32 =>
            {
                Some(value)
            }
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, token: u64) -> Option<T> {
        self.get(token)?;
        let slot = &mut self.slots[token as u32 as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let content = std::mem::replace(&mut slot.content, Content::Free(self.free));
        self.free = token as u32;
        self.count -= 1;
        match content {
            Content::Value(value) => Some(value),
            Content::Free(_) => unreachable!("get found a value"),
        }
    }

    /// The tokens of all values, in the order of their slots.
    pub(crate) fn tokens(&self) -> Vec<u64> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter(|(_, slot)| matches!(slot.content, Content::Value(_)))
            .map(|(index, slot)| u64::from(slot.generation) << 32 | index as u64)
            .collect()
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_removed_value_finds_nothing_in_its_reused_slot() {
        let mut slots = Slots::new();
        let first = slots.next();
        let old = slots.insert("old");
        assert_eq!((slots.remove(old), old), (Some("old"), first));
        let second = slots.next();
        let new = slots.insert("new");
        assert_eq!(new, second);
        assert_eq!(new as u32, old as u32, "the slot is used again");
        assert_eq!(slots.get(old), None);
        assert_eq!(slots.remove(old), None);
        assert_eq!(slots.get_mut(new), Some(&mut "new"));
        assert_eq!(slots.tokens(), [new]);
        assert_eq!(slots.count(), 1);
    }

    #[test]
    fn free_slots_are_used_before_new_ones() {
        let mut slots = Slots::new();
        let tokens: Vec<u64> = (0..100).map(|n| slots.insert(n)).collect();
        tokens.iter().for_each(|token| assert!(slots.remove(*token).is_some()));
        let again: Vec<u64> = (0..100).map(|n| slots.insert(n)).collect();
        assert!(again.iter().all(|token| (*token as u32) < 100));
        assert_eq!(slots.slots.len(), 100);
    }
}
