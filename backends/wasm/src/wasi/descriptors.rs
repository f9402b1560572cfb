//! The descriptors of one program.

use crate::files::NodeId;

use super::abi::{Called, Errno};

/// How many a program may have open.
pub(super) const DESCRIPTORS_MAX: usize = 1024;

/// What a descriptor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Input,
    Output,
    Errors,
    Node(NodeId),
}

/// One open descriptor.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub(super) target: Target,
    pub(super) position: u64,
    pub(super) flags: u16,
    pub(super) reads: bool,
    pub(super) writes: bool,
    /// The path under which the program finds it at its start.
    pub(super) given_as: Option<&'static str>,
}

impl Descriptor {
    pub(super) const fn stream(target: Target) -> Self {
        Self {
            target,
            position: 0,
            flags: 0,
            reads: matches!(target, Target::Input),
            writes: !matches!(target, Target::Input),
            given_as: None,
        }
    }

    pub(super) const fn given(folder: NodeId, path: &'static str) -> Self {
        Self {
            target: Target::Node(folder),
            position: 0,
            flags: 0,
            reads: true,
            writes: true,
            given_as: Some(path),
        }
    }

    /// Returns the file or folder that it stands for.
    pub(super) fn node(&self) -> Called<NodeId> {
        match self.target {
            Target::Node(node) => Ok(node),
            Target::Input | Target::Output | Target::Errors => Err(Errno::SPipe.into()),
        }
    }
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(super) struct Descriptors(Vec<Option<Descriptor>>);

impl Descriptors {
    /// Takes the lowest free number.
    pub(super) fn open(&mut self, descriptor: Descriptor) -> Called<u32> {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free >= DESCRIPTORS_MAX {
            return Err(Errno::MFile.into());
        }
        if free == self.0.len() {
            self.0.push(Some(descriptor));
        } else {
            self.0[free] = Some(descriptor);
        }
        Ok(u32::try_from(free).map_err(|_| Errno::MFile)?)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= DESCRIPTORS_MAX && self.0.iter().all(Option::is_some)
    }

    pub(super) fn get(&self, fd: u32) -> Called<&Descriptor> {
        let found = self.0.get(fd as usize).and_then(Option::as_ref);
        Ok(found.ok_or(Errno::BadF)?)
    }

    pub(super) fn get_mut(&mut self, fd: u32) -> Called<&mut Descriptor> {
        let found = self.0.get_mut(fd as usize).and_then(Option::as_mut);
        Ok(found.ok_or(Errno::BadF)?)
    }

    pub(super) fn close(&mut self, fd: u32) -> Called<Descriptor> {
        let found = self.0.get_mut(fd as usize).and_then(Option::take);
        Ok(found.ok_or(Errno::BadF)?)
    }

    /// Puts a descriptor under the number of another that is open, which it returns.
    pub(super) fn replace(&mut self, fd: u32, descriptor: Descriptor) -> Called<Descriptor> {
        let place = self.get_mut(fd)?;
        Ok(std::mem::replace(place, descriptor))
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Descriptor> + '_ {
        self.0.drain(..).flatten()
    }
}
