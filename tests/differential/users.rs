//! Users that programs may become, made once on every server.

use crate::wire::Wire;

/// Makes them on a server.
pub(crate) fn make(control: &mut Wire) {
    for (name, rules) in USERS {
        control.ask(&[&["ACL", "SETUSER", name], rules].concat());
    }
}

/// Name, password and rules.
const USERS: [(&str, &[&str]); 4] = [
    (
        "reader",
        &[
            "on",
            ">readpass",
            "~*",
            "&*",
            "+@read",
            "+@connection",
            "-@dangerous",
        ],
    ),
    (
        "narrow",
        &[
            "on",
            ">narrowpass",
            "~s*",
            "~l*",
            "resetchannels",
            "&news*",
            "+@all",
            "-@dangerous",
        ],
    ),
    ("nobody", &["on", ">nobodypass", "~*", "+@connection"]),
    // Only in `open/`: what the ambassador answers itself it answers to users without the right to ask, too.
    ("stranger", &["on", ">strangerpass", "~*"]),
];
