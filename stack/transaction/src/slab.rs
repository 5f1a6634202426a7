//! A table whose places are used again, with a generation so that an old name never finds a new tenant.

#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { places: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Takes a place; the tenant is told its slot and generation.
    pub(crate) fn insert_with(&mut self, tenant: impl FnOnce(u32, u32) -> T) -> (u32, u32) {
        self.len += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, tenant: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[slot as usize];
        place.tenant = Some(tenant(slot, place.generation));
        (slot, place.generation)
    }

    pub(crate) fn find(&self, slot: u32, generation: u32) -> Option<&T> {
        let place = self.places.get(slot as usize)?;
        place.tenant.as_ref().filter(|_| place.generation == generation)
    }

    pub(crate) fn find_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        let place = self.places.get_mut(slot as usize)?;
        place.tenant.as_mut().filter(|_| place.generation == generation)
    }

    pub(crate) fn remove(&mut self, slot: u32, generation: u32) -> Option<T> {
        let place = self.places.get_mut(slot as usize)?;
        if place.generation != generation {
            return None;
        }
        let tenant = place.tenant.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        self.len -= 1;
        Some(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_finds_nothing() {
        let mut slab = Slab::new();
        let (slot, generation) = slab.insert_with(|_, _| 'a');
        assert_eq!(slab.remove(slot, generation), Some('a'));
        assert_eq!(slab.remove(slot, generation), None);
        let (again, newer) = slab.insert_with(|_, _| 'b');
        assert_eq!(again, slot);
        assert_eq!(slab.find(slot, generation), None);
        assert_eq!(slab.find(slot, newer), Some(&'b'));
        assert_eq!(slab.len(), 1);
    }
}
