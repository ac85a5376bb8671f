//! Who subscribes and how: subscriber ids, options, and the subscribers of one filter.
//!
//! Most filters have one subscriber, which is stored in place; only the second one, or a share group, costs a box.

use super::members::Members;

/// The engine's number of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u32);

/// Options of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// Granted QoS, 0 to 2; higher counts as 2.
    pub qos: u8,
    /// Whether messages of the subscriber itself are left out. [MQTT5-3.8.3-3]
    pub no_local: bool,
    /// Whether live deliveries keep the publisher's retain flag. [MQTT5-3.3.1-13]
    pub retain_as_published: bool,
    /// 0 send retained messages, 1 only for a new subscription, 2 never; higher counts as 2. [MQTT5-3.3.1-9]
    pub retain_handling: u8,
    /// Whether topics that begin with `$` in the client's view are hidden (see `mountpoint::hidden_from`).
    pub hides_dollar: bool,
    /// Subscription identifier, 0 for none.
    pub subscription_id: u32,
}

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const HIDES_DOLLAR: u8 = 0b0100_0000;

/// `SubscriptionOptions` in 8 bytes, as the trie keeps them: the options byte of SUBSCRIBE (MQTT 5.0, 3.8.3.1) with
/// `HIDES_DOLLAR` in a reserved bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedOptions {
    subscription_id: u32,
    bits: u8,
}

impl From<SubscriptionOptions> for PackedOptions {
    fn from(options: SubscriptionOptions) -> Self {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let bits = options.qos.min(2)
            | options.retain_handling.min(2) << 4
            | flag(options.no_local, NO_LOCAL)
            | flag(options.retain_as_published, RETAIN_AS_PUBLISHED)
            | flag(options.hides_dollar, HIDES_DOLLAR);
        Self { subscription_id: options.subscription_id, bits }
    }
}

impl From<PackedOptions> for SubscriptionOptions {
    fn from(PackedOptions { subscription_id, bits }: PackedOptions) -> Self {
        Self {
            qos: bits & 0b11,
            no_local: bits & NO_LOCAL != 0,
            retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
            retain_handling: bits >> 4 & 0b11,
            hides_dollar: bits & HIDES_DOLLAR != 0,
            subscription_id,
        }
    }
}

/// One subscriber with its options, as the trie keeps them: 12 bytes.
pub(crate) type Member = (SubscriberId, PackedOptions);

/// Turns what the trie keeps into what it hands out.
pub(crate) fn unpack(&(id, options): &Member) -> (SubscriberId, SubscriptionOptions) {
    (id, options.into())
}

/// The subscribers of one filter: direct ones and share groups (as slots, sorted by name).
#[derive(Debug, Default)]
pub(crate) enum Subscribers {
    #[default]
    Nobody,
    One([Member; 1]),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
pub(crate) struct Many {
    direct: Members,
    groups: Vec<u32>,
}

impl Subscribers {
    pub(crate) fn direct(&self) -> &[Member] {
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

    pub(crate) fn get(&self, id: SubscriberId) -> Option<PackedOptions> {
        match self {
            Self::Nobody => None,
            Self::One([(one, options)]) => (*one == id).then_some(*options),
            Self::Many(many) => many.direct.get(id),
        }
    }

    /// Adds or replaces; returns the options that were there.
    pub(crate) fn insert(&mut self, id: SubscriberId, options: PackedOptions) -> Option<PackedOptions> {
        match self {
            Self::Nobody => {
                *self = Self::One([(id, options)]);
                None
            }
            Self::One([(one, previous)]) if *one == id => Some(std::mem::replace(previous, options)),
            Self::One(_) | Self::Many(_) => self.widen().direct.insert(id, options),
        }
    }

    pub(crate) fn remove(&mut self, id: SubscriberId) -> Option<PackedOptions> {
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
        assert_eq!(size_of::<Member>(), 12);
        assert_eq!(size_of::<Option<Subscribers>>(), 16);
    }

    #[test]
    fn packed_options_keep_every_field_apart() {
        for bits in 0_u8..72 {
            let options = SubscriptionOptions {
                qos: bits / 8 % 3,
                no_local: bits & 1 != 0,
                retain_as_published: bits & 2 != 0,
                retain_handling: bits / 24,
                hides_dollar: bits & 4 != 0,
                subscription_id: 268_435_455 - u32::from(bits),
            };
            assert_eq!(SubscriptionOptions::from(PackedOptions::from(options)), options);
        }
    }

    #[test]
    fn options_out_of_range_count_as_the_largest() {
        let options = SubscriptionOptions { qos: 9, retain_handling: 9, ..SubscriptionOptions::default() };
        let expected = SubscriptionOptions { qos: 2, retain_handling: 2, ..SubscriptionOptions::default() };
        assert_eq!(SubscriptionOptions::from(PackedOptions::from(options)), expected);
    }

    #[test]
    fn subscribers_give_their_box_back() {
        let mut subscribers = Subscribers::default();
        let options = PackedOptions::from(SubscriptionOptions::default());
        subscribers.insert(SubscriberId(1), options);
        subscribers.insert(SubscriberId(2), options);
        subscribers.insert_group(0, 5);
        assert_eq!(subscribers.remove(SubscriberId(1)), Some(options));
        assert!(matches!(subscribers, Subscribers::Many(_)));
        subscribers.remove_group(5);
        assert!(matches!(subscribers, Subscribers::One([(SubscriberId(2), _)])));
        assert_eq!(subscribers.remove(SubscriberId(1)), None);
        assert_eq!(subscribers.remove(SubscriberId(2)), Some(options));
        assert!(subscribers.is_empty());
    }
}
