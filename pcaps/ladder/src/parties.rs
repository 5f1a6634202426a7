//! Who takes part in a call: which addresses are one machine, what it does, and where its column stands.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use strowger_cops as cops;
use strowger_sip::Method;

use crate::correlate::Draft;
use crate::dissect::Found;
use crate::model::{Event, Media, MediaPoint, Party, Role};
use crate::names::{Names, role_of};
use crate::sighting::{Endpoint, Facts, Sighting};
use crate::stream::Stream;

/// What makes two addresses one party.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    /// A name of the caller's.
    Named(String),
    /// A COPS client by its PEPID.
    Pep(String),
    Socket(SocketAddr),
    PointCode(u16),
    /// A router known only by the interface's name.
    Interface(String),
}

#[derive(Debug)]
struct Member {
    identity: Identity,
    role: Role,
    addresses: Vec<String>,
    sip_hosts: Vec<IpAddr>,
    sent_invite: bool,
    got_invite: bool,
    got_token: bool,
}

struct Cast<'a> {
    names: &'a Names,
    members: Vec<Member>,
    /// Where a client's own port stands for a listening one (SIP over TCP).
    aliases: HashMap<SocketAddr, SocketAddr>,
}

/// Addresses listed of one party.
const ADDRESSES_MAX: usize = 8;

impl Cast<'_> {
    fn member(&mut self, identity: Identity, role: Role, address: Option<String>) -> usize {
        let place = self.members.iter().position(|member| member.identity == identity);
        let index = place.unwrap_or_else(|| {
            let said = if let Identity::Named(name) = &identity { role_of(name) } else { None };
            self.members.push(Member {
                identity,
                role: said.unwrap_or(role),
                addresses: Vec::new(),
                sip_hosts: Vec::new(),
                sent_invite: false,
                got_invite: false,
                got_token: false,
            });
            self.members.len() - 1
        });
        if let Some(member) = self.members.get_mut(index) {
            if member.role == Role::Other {
                member.role = role;
            }
            if let Some(address) = address
                && member.addresses.len() < ADDRESSES_MAX
                && !member.addresses.contains(&address)
            {
                member.addresses.push(address);
            }
        }
        index
    }

    fn named(&self, address: &SocketAddr) -> Option<Identity> {
        let name = self.names.of_socket(address).or_else(|| self.names.of_host(&address.ip()));
        name.map(|name| Identity::Named(name.to_owned()))
    }

    fn sip(&mut self, address: SocketAddr) -> usize {
        let address = self.aliases.get(&address).copied().unwrap_or(address);
        let identity = self.named(&address).unwrap_or(Identity::Socket(address));
        let index = self.member(identity, Role::Other, Some(address.to_string()));
        if let Some(member) = self.members.get_mut(index)
            && !member.sip_hosts.contains(&address.ip())
        {
            member.sip_hosts.push(address.ip());
        }
        index
    }

    /// The side of a connection that listens.
    fn server(&mut self, address: SocketAddr, role: Role) -> usize {
        let identity = self.named(&address).unwrap_or(Identity::Socket(address));
        self.member(identity, role, Some(address.to_string()))
    }

    /// A client that speaks for an element of the call's signalling: the one of this role on the same host, else any of this
    /// role, else any on the same host.
    fn client(&mut self, address: SocketAddr, role: Role) -> usize {
        if let Some(identity) = self.named(&address) {
            return self.member(identity, role, None);
        }
        let find = |same_host: bool, same_role: bool| {
            self.members.iter().position(|member| {
                !member.sip_hosts.is_empty()
                    && (!same_host || member.sip_hosts.contains(&address.ip()))
                    && (!same_role || member.role == role)
            })
        };
        let known = find(true, true).or_else(|| find(false, true)).or_else(|| find(true, false));
        known.unwrap_or_else(|| self.member(Identity::Socket(address), Role::Other, Some(address.to_string())))
    }

    fn router_client(&mut self, address: SocketAddr, pep_id: Option<&str>) -> usize {
        let by_pep = pep_id.and_then(|id| self.names.of_pep(id)).or_else(|| self.names.of_socket(&address));
        let by_host = || self.names.of_host(&address.ip()).filter(|name| role_of(name) == Some(Role::Router));
        let identity = match by_pep.or_else(by_host) {
            Some(name) => Identity::Named(name.to_owned()),
            None => pep_id.map_or(Identity::Socket(address), |id| Identity::Pep(id.to_owned())),
        };
        self.member(identity, Role::Router, Some(address.ip().to_string()))
    }

    /// The router between two observation points.
    fn router_of(&mut self, before: &Stream, after: &Stream) -> usize {
        let stem = |interface: &str| interface.split_once('/').map_or(interface, |(stem, _)| stem).to_owned();
        let said = self.names.of_interface(&after.interface).or_else(|| self.names.of_interface(&before.interface));
        if let Some(name) = said {
            return self.member(Identity::Named(name.to_owned()), Role::Router, None);
        }
        let stems = [stem(&after.interface), stem(&before.interface)];
        let is_it = |member: &Member| match &member.identity {
            Identity::Named(name) | Identity::Pep(name) | Identity::Interface(name) => stems.contains(name),
            _ => false,
        };
        if let Some(index) = self.members.iter().position(is_it) {
            return index;
        }
        let mut routers = self.members.iter().enumerate().filter(|(_, member)| member.role == Role::Router);
        if let (Some((only, _)), None) = (routers.next(), routers.next()) {
            return only;
        }
        let [stem, _] = stems;
        self.member(Identity::Interface(stem), Role::Router, None)
    }
}

/// Parties in the order of columns, events and media that refer to them.
pub(crate) fn assign(draft: &Draft, found: &Found, names: &Names) -> (Vec<Party>, Vec<Event>, Vec<Media>) {
    let messages: Vec<&Sighting> = draft.messages.iter().filter_map(|index| found.messages.get(*index)).collect();
    let mut cast = Cast { names, members: Vec::new(), aliases: HashMap::new() };
    for message in &messages {
        if let (Facts::Sip(facts), Endpoint::Socket(source)) = (&message.facts, message.source)
            && let Some(sent_by) = facts.sent_by.filter(|sent_by| *sent_by != source)
        {
            cast.aliases.insert(source, sent_by);
        }
    }
    // SIP elements first: the others are told by them
    let mut ends: Vec<(usize, usize)> = vec![(0, 0); messages.len()];
    for (message, ends) in messages.iter().zip(&mut ends) {
        let (Facts::Sip(facts), Endpoint::Socket(source), Endpoint::Socket(destination)) =
            (&message.facts, message.source, message.destination)
        else {
            continue;
        };
        *ends = (cast.sip(source), cast.sip(destination));
        if facts.status.is_none() && facts.method == Method::Invite && facts.initial {
            if let Some(member) = cast.members.get_mut(ends.0) {
                member.sent_invite = true;
            }
            if let Some(member) = cast.members.get_mut(ends.1) {
                member.got_invite = true;
                member.got_token |= facts.token;
            }
        }
    }
    let to_trunk = !draft.circuits.is_empty();
    // a call that was refused before it went on: whoever asked about it is a proxy all the same
    let asked = messages.iter().any(|message| match &message.facts {
        Facts::Cops(facts) => facts.client_type == cops::CLIENT_TYPE_SIP,
        Facts::Osp(facts) => !facts.answer && !facts.destination_side,
        Facts::Sip(facts) => facts.status == Some(407),
        Facts::Isup(_) => false,
    });
    let mut refused_early = asked && !cast.members.iter().any(|member| member.sent_invite && member.got_invite);
    for member in &mut cast.members {
        let asks = member.got_invite && std::mem::take(&mut refused_early);
        let role = match (member.sent_invite, member.got_invite) {
            _ if asks && !member.got_token => Role::Proxy,
            (true, false) => Role::Caller,
            (true, true) => Role::Proxy,
            (false, true) if member.got_token || to_trunk => Role::Gateway,
            (false, true) => Role::Callee,
            (false, false) => Role::Other,
        };
        if member.role == Role::Other {
            member.role = role;
        }
    }
    for (index, (message, ends)) in messages.iter().zip(&mut ends).enumerate() {
        match (&message.facts, message.source, message.destination) {
            (Facts::Cops(facts), Endpoint::Socket(source), Endpoint::Socket(destination)) => {
                let from_server =
                    matches!(facts.op, cops::Op::Decision | cops::Op::ClientAccept | cops::Op::SynchronizeState);
                let (client, server) = if from_server { (destination, source) } else { (source, destination) };
                let client = if facts.client_type == cops::CLIENT_TYPE_PROVISIONING {
                    cast.router_client(client, facts.pep_id.as_deref())
                } else {
                    cast.client(client, Role::Proxy)
                };
                let server = cast.server(server, Role::Policy);
                *ends = if from_server { (server, client) } else { (client, server) };
            }
            (Facts::Osp(facts), Endpoint::Socket(source), Endpoint::Socket(destination)) => {
                let (client, server) = if facts.answer { (destination, source) } else { (source, destination) };
                let role = if facts.destination_side || answers_destination_side(&messages, index) {
                    Role::Gateway
                } else {
                    Role::Proxy
                };
                // of several gateways the one that was tried last
                let gateway = if role == Role::Gateway { latest_gateway(&cast, &messages, index) } else { None };
                let client = match gateway.filter(|_| cast.named(&client).is_none()) {
                    Some(gateway) => gateway,
                    None => cast.client(client, role),
                };
                let server = cast.server(server, Role::Clearinghouse);
                *ends = if facts.answer { (server, client) } else { (client, server) };
            }
            (Facts::Isup(facts), ..) => {
                let calling = iam_origin(&messages, facts.cic).unwrap_or(facts.origin);
                let iam = messages.iter().position(
                    |message| matches!(&message.facts, Facts::Isup(iam) if iam.acronym == "IAM" && iam.cic == facts.cic),
                );
                let gateway = latest_gateway(&cast, &messages, iam.unwrap_or(index));
                let mut side = |code: u16| {
                    let address = Some(format!("point code {code}"));
                    if code == calling
                        && let Some(gateway) = gateway
                    {
                        return gateway;
                    }
                    let identity = match names.of_point_code(code) {
                        Some(name) => Identity::Named(name.to_owned()),
                        None => Identity::PointCode(code),
                    };
                    let role = if code == calling { Role::Gateway } else { Role::Exchange };
                    cast.member(identity, role, address)
                };
                *ends = (side(facts.origin), side(facts.destination));
            }
            _ => {}
        }
    }
    let mut media = media(draft, found, &mut cast);
    let (order, parties) = columns(&cast);
    let column = |index: usize| order.get(index).copied().unwrap_or(0);
    for media in &mut media {
        (media.from, media.to) = (column(media.from), column(media.to));
        media.routers = media.routers.iter().map(|router| column(*router)).collect();
    }
    let interfaces = &found.summary.interfaces;
    let events = messages.iter().zip(&ends).map(|(message, (from, to))| Event {
        at_unix_nanos: message.at,
        frame: message.frame,
        interface: interfaces.get(message.interface as usize).cloned().unwrap_or_default(),
        from: column(*from),
        to: column(*to),
        source: message.source.to_string(),
        destination: message.destination.to_string(),
        protocol: message.facts.protocol(),
        label: message.label.clone(),
        detail: message.detail.clone(),
        retransmission: message.retransmission,
    });
    (parties, events.collect(), media)
}

/// Whether an OSP answer goes to a device at the far end: its question says so.
fn answers_destination_side(messages: &[&Sighting], index: usize) -> bool {
    let Some(Facts::Osp(answer)) = messages.get(index).map(|message| &message.facts) else { return false };
    let before = messages.get(..index).unwrap_or_default().iter().rev();
    let question = before.filter_map(|message| match &message.facts {
        Facts::Osp(facts) if facts.connection == answer.connection && !facts.answer => Some(facts),
        _ => None,
    });
    let mut question = question.filter(|facts| answer.message_id.is_empty() || facts.message_id == answer.message_id);
    answer.answer && question.next().is_some_and(|facts| facts.destination_side)
}

fn iam_origin(messages: &[&Sighting], cic: u16) -> Option<u16> {
    messages.iter().find_map(|message| match &message.facts {
        Facts::Isup(facts) if facts.acronym == "IAM" && facts.cic == cic => Some(facts.origin),
        _ => None,
    })
}

/// The gateway whose INVITE came last before this message.
fn latest_gateway(cast: &Cast<'_>, messages: &[&Sighting], index: usize) -> Option<usize> {
    let before = messages.get(..index).unwrap_or_default().iter().rev();
    let mut invites = before.filter_map(|message| match (&message.facts, message.destination) {
        (Facts::Sip(facts), Endpoint::Socket(to)) if facts.status.is_none() && facts.method == Method::Invite => {
            Some(to)
        }
        _ => None,
    });
    invites.find_map(|to| {
        let to = cast.aliases.get(&to).copied().unwrap_or(to);
        let identity = cast.named(&to).unwrap_or(Identity::Socket(to));
        cast.members.iter().position(|member| member.identity == identity && member.role == Role::Gateway)
    })
}

/// The call's streams, those of one SSRC and pair of addresses as one.
fn media(draft: &Draft, found: &Found, cast: &mut Cast<'_>) -> Vec<Media> {
    let mut groups: Vec<Vec<&Stream>> = Vec::new();
    for stream in draft.streams.iter().filter_map(|index| found.streams.get(*index)) {
        let same = |group: &&mut Vec<&Stream>| {
            group.first().is_some_and(|first| {
                (first.ssrc, first.source, first.destination) == (stream.ssrc, stream.source, stream.destination)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(stream),
            None => groups.push(vec![stream]),
        }
    }
    let mut all = Vec::new();
    for mut group in groups {
        // each router takes one from the time to live; within a hop the clock decides
        group.sort_by_key(|stream| (u8::MAX - stream.ttl, stream.started_unix_nanos));
        let Some(&first) = group.first() else { continue };
        let mut routers = Vec::new();
        for pair in group.windows(2) {
            if let [before, after] = pair
                && before.ttl != after.ttl
            {
                routers.push(cast.router_of(before, after));
            }
        }
        let from = media_end(draft, cast, first.source);
        let to = media_end(draft, cast, first.destination);
        all.push(Media {
            ssrc: first.ssrc,
            codec: first.codec.clone(),
            from,
            to,
            routers,
            source: first.source.to_string(),
            destination: first.destination.to_string(),
            started_unix_nanos: group.iter().map(|stream| stream.started_unix_nanos).min().unwrap_or(0),
            ended_unix_nanos: group.iter().map(|stream| stream.ended_unix_nanos).max().unwrap_or(0),
            points: group
                .iter()
                .map(|stream| MediaPoint {
                    interface: stream.interface.clone(),
                    ttl: stream.ttl,
                    dscp: stream.dscp,
                    dscp_seen: stream.dscp_seen.clone(),
                    packets: stream.packets,
                    lost: stream.lost,
                    jitter_ms: stream.jitter_ms,
                    mos: stream.mos,
                })
                .collect(),
        });
    }
    all.sort_by_key(|media| media.started_unix_nanos);
    all
}

/// Whose media address this is: the element that named it first in an SDP, else the machine at that address.
fn media_end(draft: &Draft, cast: &mut Cast<'_>, address: SocketAddr) -> usize {
    let owner = draft.media.iter().find(|(known, _)| *known == address).map(|(_, owner)| *owner);
    if let Some(Endpoint::Socket(owner)) = owner {
        return cast.sip(owner);
    }
    if let Some(identity) = cast.named(&address) {
        return cast.member(identity, Role::Other, None);
    }
    let same_host = cast.members.iter().position(|member| member.sip_hosts.contains(&address.ip()));
    same_host.unwrap_or_else(|| cast.member(Identity::Socket(address), Role::Other, Some(address.to_string())))
}

/// For each member its column, and the columns.
fn columns(cast: &Cast<'_>) -> (Vec<usize>, Vec<Party>) {
    let mut by_column: Vec<usize> = (0..cast.members.len()).collect();
    by_column.sort_by_key(|index| cast.members.get(*index).map(|member| member.role));
    let mut order = vec![0; cast.members.len()];
    let mut parties: Vec<Party> = Vec::new();
    for (column, index) in by_column.iter().enumerate() {
        let Some(member) = cast.members.get(*index) else { continue };
        if let Some(place) = order.get_mut(*index) {
            *place = column;
        }
        let base = match &member.identity {
            Identity::Named(name) => name.clone(),
            Identity::Pep(name) | Identity::Interface(name) if !name.is_empty() => {
                if role_of(name) == Some(Role::Router) { name.clone() } else { format!("router {name}") }
            }
            _ => member.role.as_str().to_owned(),
        };
        let alike =
            parties.iter().filter(|party| party.name == base || party.name.starts_with(&format!("{base} "))).count();
        let unique = matches!(member.identity, Identity::Named(_)) || alike == 0;
        let name = if unique { base } else { format!("{base} {}", alike + 1) };
        parties.push(Party { name, role: member.role, addresses: member.addresses.clone() });
    }
    (order, parties)
}
