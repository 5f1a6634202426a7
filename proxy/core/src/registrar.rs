//! REGISTER (RFC 3261 §10.3).

use std::net::SocketAddr;

use strowger_clock::Moment;
use strowger_sip::{Builder, Header, Message, NameAddr, Scheme, Uri};
use strowger_transaction::{Flow, Layer, ServerKey, Target, Transport};

use crate::core::ProxyCore;
use crate::location::Binding;

/// §10.3 step 7: only what is asked for less than an hour can be too brief.
const TOO_BRIEF_BELOW_SECONDS: u32 = 3_600;

impl ProxyCore {
    /// Answers a REGISTER for one of our domains. The sender is `user`, authenticated.
    pub(crate) fn register(
        &mut self,
        now: Moment,
        layer: &mut Layer,
        key: ServerKey,
        message: &Message,
        flow: &Flow,
        user: &str,
    ) {
        // step 2: no extension is supported that could be required
        if message.values(Header::Require).next().is_some() {
            return self.reject_extensions(now, layer, key, message, Header::Require);
        }
        // step 5: the address of record is of this domain
        let Ok(to) = message.to() else { return self.reject(now, layer, key, message, 400) };
        let Ok(aor) = to.uri() else { return self.reject(now, layer, key, message, 400) };
        if !self.config.is_ours(aor.host, aor.port) {
            return self.reject(now, layer, key, message, 404);
        }
        // step 4: a user may change its own bindings alone
        if aor.user_unescaped().as_deref() != Some(user) {
            return self.reject(now, layer, key, message, 403);
        }
        let (Some(call_id), Ok(cseq)) = (message.call_id(), message.cseq()) else {
            return self.reject(now, layer, key, message, 400);
        };
        let contacts: Vec<NameAddr<'_>> = match message.contacts().collect() {
            Ok(contacts) => contacts,
            Err(_) => return self.reject(now, layer, key, message, 400),
        };
        let limits = self.config.limits;
        let wanted = |contact: &NameAddr<'_>| contact.expires().or_else(|| message.expires());

        if contacts.iter().any(NameAddr::is_wildcard) {
            // step 6: `*` stands alone and with Expires: 0
            if contacts.len() != 1 || message.expires() != Some(0) {
                return self.reject(now, layer, key, message, 400);
            }
            let newer = |binding: &Binding| binding.call_id != call_id || cseq.number > binding.cseq;
            if self.location.lookup(user, now).into_iter().any(|binding| !newer(binding)) {
                return self.reject(now, layer, key, message, 500);
            }
            self.location.retain(user, |_| false);
            return self.registered(now, layer, key, message, user);
        }

        // step 7: every contact is checked before any is changed
        let mut adds = 0;
        for contact in &contacts {
            let Ok(uri) = contact.uri() else { return self.reject(now, layer, key, message, 400) };
            if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
                // a proxy cannot forward to anything else
                return self.reject(now, layer, key, message, 400);
            }
            if let Some(seconds) = wanted(contact)
                && (1..TOO_BRIEF_BELOW_SECONDS).contains(&seconds)
                && seconds < limits.expires_min_seconds
            {
                let too_brief = Builder::response(message, 423, None)
                    .to_tag(&self.tag())
                    .header(Header::MinExpires, &limits.expires_min_seconds.to_string())
                    .build();
                return layer.respond(now, key, too_brief);
            }
            match self.location.find(user, &uri) {
                // out of order: same Call-ID, not newer
                Some(old) if old.call_id == call_id && cseq.number <= old.cseq && old.expires > now => {
                    return self.reject(now, layer, key, message, 500);
                }
                Some(_) => {}
                None if wanted(contact) == Some(0) => {}
                None => adds += 1,
            }
        }
        if self.location.count_of(user) + adds > limits.bindings_per_aor {
            self.location.sweep(now);
            if self.location.count_of(user) + adds > limits.bindings_per_aor {
                return self.reject(now, layer, key, message, 403);
            }
        }
        if self.location.total() + adds > limits.bindings_total {
            return self.reject(now, layer, key, message, 503);
        }
        for contact in &contacts {
            let Ok(uri) = contact.uri() else { continue };
            let seconds = wanted(contact).unwrap_or(limits.expires_default_seconds).min(limits.expires_max_seconds);
            if seconds == 0 {
                let gone: Option<String> = self.location.find(user, &uri).map(|binding| binding.contact.clone());
                self.location.retain(user, |binding| Some(&binding.contact) != gone.as_ref());
                continue;
            }
            let binding = Binding {
                contact: contact.uri.to_owned(),
                target: contact_target(&uri, flow.reply_target()),
                q_thousandths: contact.q_thousandths().unwrap_or(1000),
                expires: now + std::time::Duration::from_secs(seconds.into()),
                call_id: call_id.to_owned(),
                cseq: cseq.number,
            };
            self.location.put(user, binding);
        }
        self.registered(now, layer, key, message, user);
    }

    /// Step 8: 200 with every binding there is now.
    fn registered(&mut self, now: Moment, layer: &mut Layer, key: ServerKey, message: &Message, user: &str) {
        let mut response = Builder::response(message, 200, None).to_tag(&self.tag());
        for binding in self.location.lookup(user, now) {
            let left = binding.expires.saturating_since(now).as_secs();
            let q = binding.q_thousandths;
            let value = format!("<{}>;expires={left};q={}.{:03}", binding.contact, q / 1000, q % 1000);
            response = response.header(Header::Contact, &value);
        }
        let date = self.config.timestamp(now);
        response = response.header_by_name("Date", &sip_date(date.unix_seconds()));
        self.counters.registrations += 1;
        layer.respond(now, key, response.build());
    }
}

/// Where requests for a contact go. Over a connection: back over it (and to the contact's own port when it has closed). Over
/// UDP: to the contact's own address when the phone sent from there, else to where it sent from (a NAT stands between).
pub(crate) fn contact_target(contact: &Uri<'_>, came_by: Target) -> Target {
    let mut target = came_by;
    let same_host = contact
        .host
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok_and(|ip| ip.to_canonical() == target.address.ip().to_canonical());
    if !same_host {
        return target;
    }
    let named = contact.transport().and_then(Transport::parse).unwrap_or(Transport::Udp);
    let address = SocketAddr::new(target.address.ip(), contact.port.unwrap_or(named.default_port()));
    match (target.transport, named) {
        (Transport::Udp, Transport::Tcp) => Target::new(named, address),
        // many phones that speak TCP leave `transport=tcp` out of their contact: the flow tells better
        (flow, named) if flow != named => target,
        _ => {
            target.address = address;
            target
        }
    }
}

/// `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17, RFC 1123).
fn sip_date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = strowger_clock::Timestamp::from_unix_seconds(unix_seconds).to_rfc3339();
    let weekday = DAYS.get((unix_seconds / 86_400 % 7) as usize).copied().unwrap_or("Thu");
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or("00").to_owned();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)).copied());
    format!("{weekday}, {} {} {} {} GMT", part(8..10), month.unwrap_or("Jan"), part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    #[test]
    fn date_is_that_of_rfc_1123() {
        assert_eq!(super::sip_date(1_289_690_940), "Sat, 13 Nov 2010 23:29:00 GMT");
    }
}
