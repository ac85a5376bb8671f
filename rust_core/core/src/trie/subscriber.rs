//! Who subscribes and how: subscriber ids, packed options, and the subscribers of one filter.
//!
//! Most filters have one subscriber, which is stored in place; only the second one, or a share group, costs a box.

use std::fmt;

use super::members::Members;

/// The engine's number of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u32);

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING: u8 = 0b0011_0000;
const HIDES_DOLLAR: u8 = 0b0100_0000;

/// Options of one subscription in 8 bytes; made with `new` and the `with_` methods.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    subscription_id: u32,
    /// As in SUBSCRIBE (MQTT 5.0, 3.8.3.1), with `HIDES_DOLLAR` in a reserved bit.
    bits: u8,
}

impl SubscriptionOptions {
    /// Options with this granted `QoS` (0 to 2; higher counts as 2), all else off.
    #[must_use]
    pub const fn new(qos: u8) -> Self {
        Self {
            subscription_id: 0,
            bits: if qos > 2 { 2 } else { qos },
        }
    }

    /// Sets No Local: no message comes back to the client that sent it.
    #[must_use]
    pub const fn with_no_local(self, no_local: bool) -> Self {
        self.with_bit(NO_LOCAL, no_local)
    }

    /// Sets Retain As Published: live deliveries keep the publisher's retain flag.
    #[must_use]
    pub const fn with_retain_as_published(self, retain_as_published: bool) -> Self {
        self.with_bit(RETAIN_AS_PUBLISHED, retain_as_published)
    }

    /// Sets Retain Handling (0 to 2; higher counts as 2).
    #[must_use]
    pub const fn with_retain_handling(mut self, retain_handling: u8) -> Self {
        let value = if retain_handling > 2 {
            2
        } else {
            retain_handling
        };
        self.bits = self.bits & !RETAIN_HANDLING | value << 4;
        self
    }

    /// Sets that topics which begin with `$` in the client's view are hidden (see `mountpoint::hidden_from`).
    #[must_use]
    pub const fn with_hides_dollar(self, hides_dollar: bool) -> Self {
        self.with_bit(HIDES_DOLLAR, hides_dollar)
    }

    /// Sets the subscription identifier, 0 for none.
    #[must_use]
    pub const fn with_subscription_id(mut self, subscription_id: u32) -> Self {
        self.subscription_id = subscription_id;
        self
    }

    const fn with_bit(mut self, bit: u8, is_set: bool) -> Self {
        self.bits = if is_set {
            self.bits | bit
        } else {
            self.bits & !bit
        };
        self
    }

    /// Granted `QoS`, 0 to 2.
    #[must_use]
    pub const fn qos(self) -> u8 {
        self.bits & QOS
    }

    /// Whether messages of the subscriber itself are left out.
    #[must_use]
    pub const fn no_local(self) -> bool {
        self.bits & NO_LOCAL != 0
    }

    /// Whether live deliveries keep the publisher's retain flag.
    #[must_use]
    pub const fn retain_as_published(self) -> bool {
        self.bits & RETAIN_AS_PUBLISHED != 0
    }

    /// 0 send retained messages, 1 only for a new subscription, 2 never.
    #[must_use]
    pub const fn retain_handling(self) -> u8 {
        (self.bits & RETAIN_HANDLING) >> 4
    }

    /// Whether topics that begin with `$` in the client's view are hidden.
    #[must_use]
    pub const fn hides_dollar(self) -> bool {
        self.bits & HIDES_DOLLAR != 0
    }

    /// Subscription identifier, 0 for none.
    #[must_use]
    pub const fn subscription_id(self) -> u32 {
        self.subscription_id
    }
}

impl fmt::Debug for SubscriptionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionOptions")
            .field("qos", &self.qos())
            .field("no_local", &self.no_local())
            .field("retain_as_published", &self.retain_as_published())
            .field("retain_handling", &self.retain_handling())
            .field("hides_dollar", &self.hides_dollar())
            .field("subscription_id", &self.subscription_id)
            .finish_non_exhaustive()
    }
}

/// The subscribers of one filter: direct ones and share groups (as slots, sorted by name).
#[derive(Debug, Default)]
pub(crate) enum Subscribers {
    #[default]
    Nobody,
    One([(SubscriberId, SubscriptionOptions); 1]),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
pub(crate) struct Many {
    direct: Members,
    groups: Vec<u32>,
}

impl Subscribers {
    pub(crate) fn direct(&self) -> &[(SubscriberId, SubscriptionOptions)] {
        match self {
            Self::Nobody => &[],
            Self::One(one) => one,
            Self::Many(many) => many.direct.as_slice(),
        }
    }

    pub(crate) fn groups(&self) -> &[u32] {
        match self {
            Self::Nobody | Self::One(_) => &[],
            Self::Many(many) => &many.groups,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    pub(crate) fn get(&self, id: SubscriberId) -> Option<SubscriptionOptions> {
        match self {
            Self::Nobody => None,
            Self::One([(one, options)]) => (*one == id).then_some(*options),
            Self::Many(many) => many.direct.get(id),
        }
    }

    /// Adds or replaces; returns the options that were there.
    pub(crate) fn insert(
        &mut self,
        id: SubscriberId,
        options: SubscriptionOptions,
    ) -> Option<SubscriptionOptions> {
        match self {
            Self::Nobody => {
                *self = Self::One([(id, options)]);
                None
            }
            Self::One([(one, previous)]) if *one == id => {
                Some(std::mem::replace(previous, options))
            }
            Self::One(_) | Self::Many(_) => self.widen().direct.insert(id, options),
        }
    }

    pub(crate) fn remove(&mut self, id: SubscriberId) -> Option<SubscriptionOptions> {
        match self {
            Self::Nobody => None,
            Self::One([(one, options)]) => {
                let options = (*one == id).then_some(*options)?;
                *self = Self::Nobody;
                Some(options)
            }
            Self::Many(many) => {
                let options = many.direct.remove(id)?;
                self.narrow();
                Some(options)
            }
        }
    }

    pub(crate) fn insert_group(&mut self, at: usize, slot: u32) {
        self.widen().groups.insert(at, slot);
    }

    pub(crate) fn remove_group(&mut self, slot: u32) {
        if let Self::Many(many) = self {
            many.groups.retain(|&other| other != slot);
            self.narrow();
        }
    }

    fn widen(&mut self) -> &mut Many {
        if let Self::Many(many) = self {
            return many;
        }
        let mut many = Box::<Many>::default();
        if let Self::One([(id, options)]) = *self {
            many.direct.insert(id, options);
        }
        *self = Self::Many(many);
        match self {
            Self::Many(many) => many,
            Self::Nobody | Self::One(_) => unreachable!("set to Many above"),
        }
    }

    /// Gives the box back when one direct subscriber or nobody is left.
    fn narrow(&mut self) {
        if !self.groups().is_empty() {
            return;
        }
        match *self.direct() {
            [] => *self = Self::Nobody,
            [one] => *self = Self::One([one]),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_subscribers_stay_small() {
        assert_eq!(size_of::<SubscriptionOptions>(), 8);
        assert_eq!(size_of::<Option<Subscribers>>(), 16);
    }

    #[test]
    fn options_keep_every_field_apart() {
        let options = SubscriptionOptions::new(2)
            .with_no_local(true)
            .with_retain_as_published(true)
            .with_retain_handling(2)
            .with_hides_dollar(true)
            .with_subscription_id(268_435_455);
        assert_eq!(
            (
                options.qos(),
                options.retain_handling(),
                options.subscription_id()
            ),
            (2, 2, 268_435_455)
        );
        assert!(options.no_local() && options.retain_as_published() && options.hides_dollar());
        let options = options
            .with_no_local(false)
            .with_hides_dollar(false)
            .with_retain_handling(1);
        assert_eq!((options.qos(), options.retain_handling()), (2, 1));
        assert!(!options.no_local() && options.retain_as_published() && !options.hides_dollar());
        let text = "SubscriptionOptions { qos: 2, no_local: false, retain_as_published: true, retain_handling: 1, \
                    hides_dollar: false, subscription_id: 268435455, .. }";
        assert_eq!(format!("{options:?}"), text);
    }

    #[test]
    fn options_out_of_range_count_as_the_largest() {
        assert_eq!(
            SubscriptionOptions::new(9)
                .with_retain_handling(9)
                .retain_handling(),
            2
        );
        assert_eq!(SubscriptionOptions::new(9).qos(), 2);
    }

    #[test]
    fn subscribers_give_their_box_back() {
        let mut subscribers = Subscribers::default();
        let options = SubscriptionOptions::new(1);
        subscribers.insert(SubscriberId(1), options);
        subscribers.insert(SubscriberId(2), options);
        subscribers.insert_group(0, 5);
        assert_eq!(subscribers.remove(SubscriberId(1)), Some(options));
        assert!(matches!(subscribers, Subscribers::Many(_)));
        subscribers.remove_group(5);
        assert!(matches!(
            subscribers,
            Subscribers::One([(SubscriberId(2), _)])
        ));
        assert_eq!(subscribers.remove(SubscriberId(1)), None);
        assert_eq!(subscribers.remove(SubscriberId(2)), Some(options));
        assert!(subscribers.is_empty());
    }
}
