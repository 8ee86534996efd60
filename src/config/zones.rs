//! Zones as values: the one that this process runs in, and those of nodes.

use super::addresses::{list, node};
use super::raw::{Raw, quoted};
use super::values::{Setting, expected};
use crate::settings::Zoned;

/// A zone; empty is none.
#[derive(Clone)]
pub(super) struct Zone(pub(super) Option<String>);

impl Setting for Zone {
    fn parse(raw: &Raw) -> Result<Zone, String> {
        match raw.text() {
            Some("") => Ok(Zone(None)),
            Some(name) if is_name(name) => Ok(Zone(Some(name.to_owned()))),
            _ => expected("the name of a zone in quotes, such as \"eu-central-1a\""),
        }
    }

    fn print(&self) -> String {
        quoted(self.0.as_deref().unwrap_or_default())
    }
}

/// No cloud's zones are called otherwise; what a variable left unset in a template looks like is none of them.
fn is_name(text: &str) -> bool {
    let letter = |letter: char| letter.is_alphanumeric() || "-_./:".contains(letter);
    !text.is_empty() && text.chars().all(letter)
}

impl Setting for Vec<Zoned> {
    fn parse(raw: &Raw) -> Result<Vec<Zoned>, String> {
        let mut all: Vec<Zoned> = Vec::new();
        for element in raw.elements() {
            let parts = element.text().and_then(|text| text.split_once('='));
            let Some((place, zone)) = parts.filter(|(_, zone)| is_name(zone.trim())) else {
                return expected(format!(
                    "\"HOST:PORT=ZONE\", such as \"10.0.0.5:6379=eu-1a\", instead of {element}"
                ));
            };
            let node = node(place.trim())?;
            if all.iter().any(|other| other.node.is_same_place(&node)) {
                return expected(format!("each node once, but {node} is there twice"));
            }
            let zone = zone.trim().to_owned();
            all.push(Zoned { node, zone });
        }
        Ok(all)
    }

    fn print(&self) -> String {
        list(self)
    }
}
