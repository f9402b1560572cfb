//! Images through the bus: real registries, hostile ones, archives, room.

mod archives;
mod hostile;
mod made;
mod registry;
mod room;
mod server;
mod stage;
mod standing;
