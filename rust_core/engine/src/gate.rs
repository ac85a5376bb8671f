//! What one connection under its namespace's limiters may still publish, subscribe and be sent.
//!
//! Which limiters a connection is under is settled when its session opens; their numbers are those of the moment. A
//! thread takes from the buckets that the tenant shares a little ahead while a batch of packets lasts.

use std::sync::Arc;

use crate::namespace::{ClientLimits, Namespace, NamespaceLimits};
use crate::rate::{Limit, Meter, SharedMeter, Source};

/// Messages taken ahead of one batch's need.
const MESSAGES_AHEAD: u64 = 32;
/// Bytes taken ahead of one batch's need.
const BYTES_AHEAD: u64 = 16 * 1024;

/// The limits of a namespace as a connection last saw them.
struct View {
    namespace: Arc<Namespace>,
    limits: Arc<NamespaceLimits>,
    version: u32,
}

impl View {
    fn new(namespace: &Arc<Namespace>) -> Self {
        let version = namespace.version();
        Self { namespace: Arc::clone(namespace), limits: namespace.limits(), version }
    }

    fn is_current(&self) -> bool {
        self.version == self.namespace.version()
    }

    fn client(&self, is_limited: bool) -> Option<&ClientLimits> {
        self.limits.client.as_deref().filter(|_| is_limited)
    }
}

/// The publishing side of a connection under limits.
pub struct Gate {
    view: View,
    is_tenant_limited: bool,
    is_client_limited: bool,
    messages: Meter,
    bytes: Meter,
    subscribes: Meter,
    messages_ahead: u64,
    bytes_ahead: u64,
}

impl Gate {
    /// A connection that opens now; `None` where no limiter is enabled.
    #[must_use]
    pub fn new(namespace: &Arc<Namespace>) -> Option<Self> {
        let view = View::new(namespace);
        let (is_tenant_limited, is_client_limited) = (view.limits.has_tenant, view.limits.has_client);
        (is_tenant_limited || is_client_limited).then(|| Self {
            view,
            is_tenant_limited,
            is_client_limited,
            messages: Meter::default(),
            bytes: Meter::default(),
            subscribes: Meter::default(),
            messages_ahead: 0,
            bytes_ahead: 0,
        })
    }

    /// Whether the client limiter holds, and with it no rate of the listener.
    #[must_use]
    pub fn is_client_limited(&self) -> bool {
        self.is_client_limited
    }

    /// Pays for a publication of so many payload bytes. False: it is over a limit and must be refused, and nothing was
    /// paid. Where the limits pause instead, it is always paid and [`Gate::wait_ms`] tells for how long.
    pub fn admits_publish(&mut self, payload_bytes: usize, now_ms: u64) -> bool {
        self.refresh(now_ms);
        let payload_bytes = payload_bytes as u64;
        if self.view.limits.pauses {
            self.owe(payload_bytes, now_ms);
            return true;
        }
        let Some(sources) = self.take_own(payload_bytes, now_ms) else {
            return false;
        };
        let is_admitted = self.take_shared(payload_bytes, now_ms);
        if !is_admitted && let Some(client) = self.view.client(self.is_client_limited) {
            self.messages.give_back(&client.messages, 1, sources.0);
            self.bytes.give_back(&client.bytes, payload_bytes, sources.1);
        }
        is_admitted
    }

    fn take_own(&mut self, payload_bytes: u64, now_ms: u64) -> Option<(Source, Source)> {
        let Some(client) = self.view.client(self.is_client_limited) else {
            return Some((Source::Unlimited, Source::Unlimited));
        };
        let by_messages = self.messages.take(&client.messages, 1, now_ms)?;
        let by_bytes = self.bytes.take(&client.bytes, payload_bytes, now_ms);
        if by_bytes.is_none() {
            self.messages.give_back(&client.messages, 1, by_messages);
        }
        Some((by_messages, by_bytes?))
    }

    fn take_shared(&mut self, payload_bytes: u64, now_ms: u64) -> bool {
        let Some(tenant) = self.view.limits.tenant.as_deref().filter(|_| self.is_tenant_limited) else {
            return true;
        };
        let namespace = &self.view.namespace;
        let has_message =
            fill(&mut self.messages_ahead, &namespace.messages, &tenant.messages, 1, MESSAGES_AHEAD, now_ms);
        let is_admitted = has_message
            && fill(&mut self.bytes_ahead, &namespace.bytes, &tenant.bytes, payload_bytes, BYTES_AHEAD, now_ms);
        if is_admitted {
            self.messages_ahead = self.messages_ahead.saturating_sub(1);
            self.bytes_ahead = self.bytes_ahead.saturating_sub(payload_bytes);
        }
        is_admitted
    }

    fn owe(&mut self, payload_bytes: u64, now_ms: u64) {
        if let Some(client) = self.view.client(self.is_client_limited) {
            self.messages.owe(&client.messages, 1, now_ms);
            self.bytes.owe(&client.bytes, payload_bytes, now_ms);
        }
        if let Some(tenant) = self.view.limits.tenant.as_deref().filter(|_| self.is_tenant_limited) {
            self.view.namespace.messages.owe(&tenant.messages, 1, now_ms);
            self.view.namespace.bytes.owe(&tenant.bytes, payload_bytes, now_ms);
        }
    }

    /// Pays for a SUBSCRIBE, however many filters it has; as [`Gate::admits_publish`].
    pub fn admits_subscribe(&mut self, now_ms: u64) -> bool {
        self.refresh(now_ms);
        let Some(client) = self.view.client(self.is_client_limited) else {
            return true;
        };
        if self.view.limits.pauses {
            self.subscribes.owe(&client.subscribes, 1, now_ms);
            return true;
        }
        self.subscribes.take(&client.subscribes, 1, now_ms).is_some()
    }

    /// For how long nothing is to be read, where the limits pause; else 0.
    #[must_use]
    pub fn wait_ms(&self, now_ms: u64) -> u64 {
        if !self.view.limits.pauses {
            return 0;
        }
        let own = self.view.client(self.is_client_limited).map_or(0, |client| {
            let messages = self.messages.wait_ms(&client.messages, now_ms);
            let bytes = self.bytes.wait_ms(&client.bytes, now_ms);
            messages.max(bytes).max(self.subscribes.wait_ms(&client.subscribes, now_ms))
        });
        let tenant = self.view.limits.tenant.as_deref().filter(|_| self.is_tenant_limited);
        tenant.map_or(own, |tenant| {
            let namespace = &self.view.namespace;
            let messages = namespace.messages.wait_ms(&tenant.messages, now_ms);
            own.max(messages).max(namespace.bytes.wait_ms(&tenant.bytes, now_ms))
        })
    }

    /// Ends a batch: what was taken ahead goes back to the others.
    pub fn settle(&mut self) {
        if self.messages_ahead + self.bytes_ahead == 0 {
            return;
        }
        if let Some(tenant) = &self.view.limits.tenant {
            self.view.namespace.messages.give_back(&tenant.messages, self.messages_ahead, Source::Rate);
            self.view.namespace.bytes.give_back(&tenant.bytes, self.bytes_ahead, Source::Rate);
        }
        self.messages_ahead = 0;
        self.bytes_ahead = 0;
    }

    fn refresh(&mut self, now_ms: u64) {
        if self.view.is_current() {
            return;
        }
        self.settle();
        self.view = View::new(&Arc::clone(&self.view.namespace));
        if let Some(client) = self.view.client(self.is_client_limited) {
            self.messages.refit(&client.messages, now_ms);
            self.bytes.refit(&client.bytes, now_ms);
            self.subscribes.refit(&client.subscribes, now_ms);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Sees to it that `ahead` covers `need`; false if the bucket does not hold what is missing.
fn fill(ahead: &mut u64, meter: &SharedMeter, limit: &Limit, need: u64, more: u64, now_ms: u64) -> bool {
    if limit.rate.is_none() || *ahead >= need {
        return true;
    }
    let missing = need - *ahead;
    let Some((taken, _)) = meter.take(limit, missing, missing.max(more), now_ms) else {
        return false;
    };
    *ahead += taken;
    true
}

/// The receiving side of a connection under the client limiter.
pub struct Throttle {
    view: View,
    messages: Meter,
    bytes: Meter,
    /// A timer is set for when it may be sent more.
    pub is_waiting: bool,
}

impl Throttle {
    /// A connection that opens now; `None` where the client limiter is disabled.
    #[must_use]
    pub fn new(namespace: &Arc<Namespace>) -> Option<Self> {
        let view = View::new(namespace);
        let (messages, bytes) = (Meter::default(), Meter::default());
        view.limits.has_client.then_some(Self { view, messages, bytes, is_waiting: false })
    }

    /// Pays for a message that is sent. It may be larger than the bucket: what comes next waits for it.
    pub fn pay(&mut self, payload_bytes: usize, now_ms: u64) {
        if let Some(client) = &self.view.limits.client {
            self.messages.owe(&client.delivery_messages, 1, now_ms);
            self.bytes.owe(&client.delivery_bytes, payload_bytes as u64, now_ms);
        }
    }

    /// For how long nothing more may be sent; 0: it may now.
    pub fn wait_ms(&mut self, now_ms: u64) -> u64 {
        if !self.view.is_current() {
            self.view = View::new(&Arc::clone(&self.view.namespace));
            if let Some(client) = &self.view.limits.client {
                self.messages.refit(&client.delivery_messages, now_ms);
                self.bytes.refit(&client.delivery_bytes, now_ms);
            }
        }
        self.view.limits.client.as_ref().map_or(0, |client| {
            let messages = self.messages.wait_ms(&client.delivery_messages, now_ms);
            messages.max(self.bytes.wait_ms(&client.delivery_bytes, now_ms))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Mailbox;
    use crate::namespace::TenantLimits;
    use crate::rate::Rate;

    const NOW_MS: u64 = 1_000_000;

    fn per_hour(amount: u64) -> Limit {
        Limit { rate: Rate::new(amount, 3_600_000), burst: None }
    }

    fn namespace(limits: NamespaceLimits) -> Result<Arc<Namespace>, std::io::Error> {
        let namespace = Namespace::new("n1".into(), Arc::default(), Arc::new(Mailbox::new()?));
        namespace.set_limits(limits, NOW_MS);
        Ok(Arc::new(namespace))
    }

    fn tenant(messages: u64, bytes: u64) -> NamespaceLimits {
        let tenant = TenantLimits { messages: per_hour(messages), bytes: per_hour(bytes) };
        NamespaceLimits { tenant: Some(Box::new(tenant)), has_tenant: true, ..NamespaceLimits::default() }
    }

    fn client(messages: u64, bytes: u64) -> NamespaceLimits {
        let client = ClientLimits { messages: per_hour(messages), bytes: per_hour(bytes), ..ClientLimits::default() };
        NamespaceLimits { client: Some(Box::new(client)), has_client: true, ..NamespaceLimits::default() }
    }

    fn passed(gate: &mut Gate, tries: usize, bytes: usize) -> usize {
        (0..tries).filter(|_| gate.admits_publish(bytes, NOW_MS)).count()
    }

    #[test]
    fn clients_of_a_tenant_share_its_bucket_to_the_last_message() -> Result<(), std::io::Error> {
        let namespace = namespace(tenant(100, 1_000_000))?;
        let mut gates: Vec<_> = (0..3).filter_map(|_| Gate::new(&namespace)).collect();
        let mut total = 0;
        for _ in 0..20 {
            for gate in &mut gates {
                total += passed(gate, 3, 10);
                gate.settle();
            }
        }
        assert_eq!(total, 100);
        Ok(())
    }

    #[test]
    fn what_the_tenant_refuses_costs_the_client_nothing() -> Result<(), std::io::Error> {
        let mut limits = tenant(2, 1_000);
        (limits.client, limits.has_client) = (client(10, 1_000).client, true);
        let namespace = namespace(limits)?;
        let Some(mut gate) = Gate::new(&namespace) else { panic!("limiters are enabled") };
        assert_eq!(passed(&mut gate, 8, 10), 2);
        let lifted = NamespaceLimits { tenant: Some(Box::default()), has_tenant: true, ..client(10, 1_000) };
        namespace.set_limits(lifted, NOW_MS);
        assert_eq!(passed(&mut gate, 20, 10), 8);
        Ok(())
    }

    #[test]
    fn too_many_bytes_cost_no_message() -> Result<(), std::io::Error> {
        let namespace = namespace(client(5, 100))?;
        let Some(mut gate) = Gate::new(&namespace) else { panic!("a limiter is enabled") };
        assert_eq!(passed(&mut gate, 3, 101), 0);
        assert_eq!(passed(&mut gate, 10, 20), 5);
        Ok(())
    }

    #[test]
    fn a_limiter_that_is_disabled_holds_for_open_connections_only() -> Result<(), std::io::Error> {
        let namespace = namespace(client(5, 100))?;
        let Some(mut gate) = Gate::new(&namespace) else { panic!("a limiter is enabled") };
        namespace.set_limits(NamespaceLimits::default(), NOW_MS);
        assert_eq!(passed(&mut gate, 10, 1), 5);
        assert!(Gate::new(&namespace).is_none());
        namespace.replace_limits(Arc::default(), NOW_MS);
        assert_eq!(passed(&mut gate, 10, 1), 10);
        Ok(())
    }

    #[test]
    fn where_limits_pause_everything_is_paid_and_waited_for() -> Result<(), std::io::Error> {
        let namespace = namespace(NamespaceLimits { pauses: true, ..tenant(3_600, 1 << 40) })?;
        let Some(mut gate) = Gate::new(&namespace) else { panic!("a limiter is enabled") };
        assert_eq!(passed(&mut gate, 3_599, 1), 3_599);
        assert_eq!(gate.wait_ms(NOW_MS), 0);
        assert_eq!(passed(&mut gate, 2, 1), 2);
        assert!((2_000..=2_001).contains(&gate.wait_ms(NOW_MS)));
        Ok(())
    }

    #[test]
    fn a_large_message_is_sent_and_the_next_waits_for_it() -> Result<(), std::io::Error> {
        let limits = ClientLimits { delivery_bytes: per_hour(3_600), ..ClientLimits::default() };
        let namespace = namespace(NamespaceLimits {
            client: Some(Box::new(limits)),
            has_client: true,
            ..NamespaceLimits::default()
        })?;
        let Some(mut throttle) = Throttle::new(&namespace) else { panic!("the limiter is enabled") };
        assert_eq!(throttle.wait_ms(NOW_MS), 0);
        throttle.pay(7_200, NOW_MS);
        assert!((3_601_000..=3_601_001).contains(&throttle.wait_ms(NOW_MS)));
        Ok(())
    }
}
