//! The question that is put to the rules: which client, which action, which topic.
//!
//! `judged_topic` turns what a client wrote into what rules see. Nothing here allocates but for mounted topics, whose
//! buffer the caller keeps.

use std::net::IpAddr;

use super::spec::ClientField;
use super::template::Variable;
use crate::codec::QoS;
use crate::topic;

const DELAYED_PREFIX: &str = "$delayed/";

/// What rules may know of a client. All of it stays the same for the life of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'a> {
    /// Final client id.
    pub client_id: &'a str,
    /// User name; an empty one counts as none.
    pub username: Option<&'a str>,
    /// Address of the peer; `None` for a Unix socket. An IPv4 address inside IPv6 counts as IPv4.
    pub peer_ip: Option<IpAddr>,
    /// Namespace of the client; an empty one counts as none.
    pub namespace: Option<&'a str>,
    /// Zone of the listener.
    pub zone: &'a str,
    /// Listener as `type:name`.
    pub listener: &'a str,
    /// Common name of the client's certificate.
    pub cert_common_name: Option<&'a str>,
    /// Client attributes, name and value; few.
    pub attributes: &'a [(Box<str>, Box<str>)],
}

impl<'a> Client<'a> {
    pub(crate) fn username(&self) -> Option<&'a str> {
        self.username.filter(|name| !name.is_empty())
    }

    pub(crate) fn namespace(&self) -> Option<&'a str> {
        self.namespace.filter(|name| !name.is_empty())
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    pub(crate) fn field(&self, field: &ClientField) -> Option<&'a str> {
        match field {
            ClientField::ClientId => Some(self.client_id),
            ClientField::Username => self.username(),
            ClientField::Attribute(name) => self.attribute(name),
            ClientField::Zone => Some(self.zone),
            ClientField::Listener => Some(self.listener),
        }
    }

    pub(crate) fn value(&self, variable: &Variable) -> Option<&'a str> {
        match variable {
            Variable::ClientId => Some(self.client_id),
            Variable::Username => self.username(),
            Variable::CertCommonName => self.cert_common_name,
            Variable::Zone => Some(self.zone),
            Variable::Attribute(name) => self.attribute(name),
        }
    }
}

/// What a client wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Publish a message, or have its will published.
    Publish {
        /// QoS of the PUBLISH.
        qos: QoS,
        /// Its retain flag.
        retain: bool,
    },
    /// Subscribe a filter.
    Subscribe {
        /// The QoS that is asked for.
        qos: QoS,
    },
}

impl Action {
    /// The one bit that stands for this action in a rule's mask.
    pub(crate) const fn bit(self) -> u16 {
        match self {
            Self::Publish { qos, retain } => 1 << (qos as u8 * 2 + retain as u8),
            Self::Subscribe { qos } => 1 << (6 + qos as u8),
        }
    }
}

/// Returns what rules see of a topic or raw filter; `None` if it is denied without asking any rule.
///
/// Takes off `$share/<group>/`, `$queue/` and `$exclusive/` of a SUBSCRIBE and `$delayed/<n>/` of both actions; a
/// `$delayed/` without a second slash is denied. `mountpoint` then goes in front; give the empty one unless rules see
/// mountpoints (`authorization.include_mountpoint`). `scratch` is written only if there is a mountpoint.
#[must_use]
pub fn judged_topic<'a>(action: Action, raw: &'a str, mountpoint: &str, scratch: &'a mut String) -> Option<&'a str> {
    let bare = match action {
        Action::Publish { .. } => raw,
        Action::Subscribe { .. } => topic::split_filter(raw).1,
    };
    let bare = match bare.strip_prefix(DELAYED_PREFIX) {
        None => bare,
        Some(rest) => rest.split_once('/')?.1,
    };
    if mountpoint.is_empty() {
        return Some(bare);
    }
    scratch.clear();
    scratch.push_str(mountpoint);
    scratch.push_str(bare);
    Some(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_topic_is_built_behind_its_prefixes() {
        let mut scratch = String::new();
        let subscribe = Action::Subscribe { qos: QoS::AtMostOnce };
        assert_eq!(judged_topic(subscribe, "$share/g/a/#", "n1/", &mut scratch), Some("n1/a/#"));
        let publish = Action::Publish { qos: QoS::AtMostOnce, retain: false };
        assert_eq!(judged_topic(publish, "$share/g/a", "n1/", &mut scratch), Some("n1/$share/g/a"));
    }

    #[test]
    fn no_two_actions_share_a_bit() {
        let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        let mut seen = 0_u16;
        for qos in levels {
            for action in [
                Action::Publish { qos, retain: false },
                Action::Publish { qos, retain: true },
                Action::Subscribe { qos },
            ] {
                assert_eq!(seen & action.bit(), 0, "{action:?}");
                seen |= action.bit();
            }
        }
        assert_eq!(seen, 0b1_1111_1111);
    }
}
