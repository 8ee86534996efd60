//! What distinguishes links to one node: database, RESP version and user.

use std::collections::HashMap;
use std::rc::Rc;

use rustc_hash::FxBuildHasher;

use crate::resp::write;

/// Who a link logs in as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Login {
    /// ACL user; `None`: the default user, by password alone.
    pub(super) user: Option<Vec<u8>>,
    pub(super) password: Vec<u8>,
}

/// What a link is set up to before it carries commands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Profile {
    pub(super) db: u32,
    pub(super) resp3: bool,
    pub(super) login: Option<Rc<Login>>,
    /// Carries nothing but AUTH, to learn whether a login is right: its own user changes with every one.
    pub(super) asks_logins: bool,
}

impl Login {
    /// AUTH, as the client said it: `AUTH password` and `AUTH default password` are refused for different reasons.
    pub(super) fn request(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.user {
            None => write::request(&mut out, [&b"AUTH"[..], &self.password]),
            Some(user) => write::request(&mut out, [&b"AUTH"[..], user, &self.password]),
        }
        out
    }
}

impl Profile {
    /// Appends the commands that set a fresh connection up; returns how many replies they bring.
    pub(super) fn handshake(&self, out: &mut Vec<u8>) -> u32 {
        let mut replies = 0;
        let mut command = |arguments: &[&[u8]]| {
            write::request(out, arguments.iter().copied());
            replies += 1;
        };
        // As the client said it: `AUTH password` and `AUTH default password` are refused for different reasons.
        match (self.login.as_deref(), self.resp3) {
            (Some(Login { user: None, password }), _) => command(&[b"AUTH", password]),
            (
                Some(Login {
                    user: Some(user),
                    password,
                }),
                false,
            ) => command(&[b"AUTH", user, password]),
            (
                Some(Login {
                    user: Some(user),
                    password,
                }),
                true,
            ) => command(&[b"HELLO", b"3", b"AUTH", user, password]),
            (None, _) => {}
        }
        if self.resp3 && self.login.as_deref().is_none_or(|login| login.user.is_none()) {
            command(&[b"HELLO", b"3"]);
        }
        if self.db != 0 {
            command(&[b"SELECT", self.db.to_string().as_bytes()]);
        }
        replies
    }
}

/// A profile by a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ProfileId(u32);

/// The profiles in use.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    ids: HashMap<Profile, ProfileId, FxBuildHasher>,
    by_id: HashMap<ProfileId, Profile, FxBuildHasher>,
    next: u32,
}

impl Profiles {
    /// The number of that profile, a new one if nobody used it before.
    pub(super) fn intern(&mut self, profile: &Profile) -> ProfileId {
        if let Some(id) = self.ids.get(profile) {
            return *id;
        }
        let id = ProfileId(self.next);
        self.next += 1;
        self.ids.insert(profile.clone(), id);
        self.by_id.insert(id, profile.clone());
        id
    }

    /// The profile of that number.
    pub(super) fn get(&self, id: ProfileId) -> Profile {
        self.by_id.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Forgets the profiles that nobody uses: a client may try any number of passwords.
    pub(super) fn retain(&mut self, used: impl Fn(ProfileId) -> bool) {
        self.by_id.retain(|id, _| used(*id));
        self.ids.retain(|_, id| used(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_sets_up_what_the_profile_says() {
        let login = Rc::new(Login {
            user: Some(b"app".to_vec()),
            password: b"pw".to_vec(),
        });
        let default = Rc::new(Login {
            user: None,
            password: b"pw".to_vec(),
        });
        for (profile, commands, replies) in [
            (Profile::default(), "", 0),
            (
                Profile {
                    db: 3,
                    ..Profile::default()
                },
                "SELECT 3 ",
                1,
            ),
            (
                Profile {
                    login: Some(default.clone()),
                    ..Profile::default()
                },
                "AUTH pw ",
                1,
            ),
            (
                Profile {
                    login: Some(login.clone()),
                    ..Profile::default()
                },
                "AUTH app pw ",
                1,
            ),
            (
                Profile {
                    login: Some(default),
                    resp3: true,
                    ..Profile::default()
                },
                "AUTH pw HELLO 3 ",
                2,
            ),
            (
                Profile {
                    login: Some(login),
                    resp3: true,
                    db: 1,
                    ..Profile::default()
                },
                "HELLO 3 AUTH app pw SELECT 1 ",
                2,
            ),
        ] {
            let mut out = Vec::new();
            assert_eq!(profile.handshake(&mut out), replies);
            let text = String::from_utf8(out).expect("text");
            let words: String = text
                .split("\r\n")
                .filter(|line| !line.starts_with(['*', '$']) && !line.is_empty())
                .fold(String::new(), |words, word| words + word + " ");
            assert_eq!(words, commands);
        }
    }
}
