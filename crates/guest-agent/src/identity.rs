//! Whom programs run as.
//!
//! Without `--as` there is nobody else: programs have the agent's ids. With it the agent is user 0 of its user namespace, and
//! every program is given its ids and loses what the agent may do.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rustix::fs::{Mode, OFlags};
use vulcan_guest_protocol::Refusal;

use crate::{refusal, sys};

/// As much as is read of a list of users or groups.
const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// The most groups that a user is in; the kernel takes 65,536.
const GROUPS_MAX: usize = 256;

/// The ids of a program, and its home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

impl Identity {
    /// Returns the ids of `uid:gid`.
    pub(crate) fn of_numbers(text: &str) -> Option<Self> {
        let (uid, gid) = text.split_once(':')?;
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        Some(Self {
            uid,
            gid,
            groups: vec![gid],
            home: "/".to_owned(),
        })
    }

    /// Looks up `user`, `uid`, `user:group` or `uid:gid` in the guest's lists below `root`; user 0 where it is empty.
    ///
    /// As container engines do it: without a group it is that of the list of users, or else 0, with all groups that the user
    /// is a member of; with a group it is that group alone.
    pub(crate) fn look_up(text: &str, root: &Path) -> Result<Self, Refusal> {
        let users = read_list(&root.join("etc/passwd"));
        let groups = read_list(&root.join("etc/group"));
        find(text, &users, &groups).map_err(refusal::invalid)
    }
}

/// Does something with the file rights of code, so that what it makes is the code's and what it follows leads no further.
pub(crate) fn with_rights_of<T>(identity: Option<&Identity>, act: impl FnOnce() -> T) -> io::Result<T> {
    let Some(identity) = identity else {
        return Ok(act());
    };
    sys::set_effective_ids(identity.uid, identity.gid)?;
    let result = act();
    sys::set_effective_ids(0, 0)?;
    Ok(result)
}

fn find(text: &str, users: &str, groups: &str) -> Result<Identity, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = users.lines().map(fields).find(|entry| {
        entry.first() == Some(&user) || (user.parse::<u32>().is_ok() && entry.get(2).copied() == Some(user))
    });
    let field = |number: usize| entry.as_ref().and_then(|entry| entry.get(number).copied());
    let uid = field(2)
        .unwrap_or(user)
        .parse()
        .map_err(|_| format!("there is no user '{user}' in /etc/passwd of the image"))?;
    let home = field(5)
        .filter(|home| home.starts_with('/'))
        .unwrap_or("/")
        .to_owned();
    let (gid, groups) = match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            let gid = find_group(group, groups)?;
            (gid, vec![gid])
        }
        None => {
            let gid = field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0);
            let name = field(0).unwrap_or_default();
            (gid, with_memberships(gid, name, groups))
        }
    };
    Ok(Identity {
        uid,
        gid,
        groups,
        home,
    })
}

fn find_group(group: &str, groups: &str) -> Result<u32, String> {
    let entry = groups
        .lines()
        .map(fields)
        .find(|entry| entry.first() == Some(&group));
    let number = entry
        .as_ref()
        .and_then(|entry| entry.get(2).copied())
        .unwrap_or(group);
    number
        .parse()
        .map_err(|_| format!("there is no group '{group}' in /etc/group of the image"))
}

fn with_memberships(gid: u32, name: &str, groups: &str) -> Vec<u32> {
    let member_of = groups.lines().map(fields).filter(|entry| {
        let members = entry.get(3).copied().unwrap_or_default();
        !name.is_empty() && members.split(',').any(|member| member == name)
    });
    let mut ids: Vec<u32> = std::iter::once(gid)
        .chain(member_of.filter_map(|entry| entry.get(2)?.parse().ok()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(GROUPS_MAX);
    ids
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').map(str::trim).collect()
}

/// Reads a list of the image; one that cannot be read is empty, as in images without users.
fn read_list(path: &Path) -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut text = Vec::new();
    let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else {
        return String::new();
    };
    let file = File::from(fd);
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    // What could be read of it counts.
    file.take(LIST_BYTES_MAX).read_to_end(&mut text).ok();
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nann:x:1001:100::/home/ann:/bin/sh\nbroken\n7:x:9:9::/:\n";
    const GROUPS: &str = "root:x:0:\nusers:x:100:\nwheel:x:10:bob,ann\n";

    fn ids(text: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        find(text, USERS, GROUPS).map(|found| (found.uid, found.gid, found.groups, found.home))
    }

    #[test]
    fn users_are_found_as_container_engines_find_them() {
        let home = |home: &str| home.to_owned();
        assert_eq!(ids(""), Ok((0, 0, vec![0], home("/root"))));
        assert_eq!(ids("ann"), Ok((1001, 100, vec![10, 100], home("/home/ann"))));
        assert_eq!(ids("1001"), Ok((1001, 100, vec![10, 100], home("/home/ann"))));
        assert_eq!(ids("ann:wheel"), Ok((1001, 10, vec![10], home("/home/ann"))));
        assert_eq!(ids("4242"), Ok((4242, 0, vec![0], home("/"))));
        assert_eq!(ids("4242:4343"), Ok((4242, 4343, vec![4343], home("/"))));
        assert_eq!(ids(":wheel"), Ok((0, 10, vec![10], home("/root"))));
    }

    #[test]
    fn who_does_not_exist_is_named() {
        assert_eq!(
            ids("eve"),
            Err("there is no user 'eve' in /etc/passwd of the image".to_owned())
        );
        assert_eq!(
            ids("ann:eve"),
            Err("there is no group 'eve' in /etc/group of the image".to_owned())
        );
    }
}
