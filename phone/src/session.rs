//! From two session descriptions to what media do.

use std::net::SocketAddr;

use bytes::Bytes;
use strowger_rtp::g711::Law;
use strowger_sdp::{Capabilities, Codec, NoCommonCodec, SessionDescription, negotiated};

/// What was agreed on for the audio stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) law: Law,
    pub(crate) send_type: u8,
    pub(crate) receive_types: Vec<(u8, Law)>,
    pub(crate) event_send_type: Option<u8>,
    pub(crate) event_receive_type: Option<u8>,
    pub(crate) sends: bool,
}

/// Our half of a session.
pub(crate) struct Session {
    capabilities: Capabilities,
    ours: Option<SessionDescription>,
}

fn codec(law: Law) -> Codec {
    match law {
        Law::A => Codec::pcma(),
        Law::Mu => Codec::pcmu(),
    }
}

pub(crate) fn read(body: &[u8]) -> Option<SessionDescription> {
    SessionDescription::parse(std::str::from_utf8(body).ok()?).ok()
}

impl Session {
    pub(crate) fn new(local: SocketAddr, laws: &[Law], session_id: u64) -> Session {
        let mut capabilities = Capabilities::g711(local.ip(), local.port(), session_id);
        capabilities.codecs = laws.iter().copied().map(codec).collect();
        Session { capabilities, ours: None }
    }

    fn keep(&mut self, made: SessionDescription) -> Bytes {
        let made = match &self.ours {
            Some(previous) => made.following(previous),
            None => made,
        };
        let text = made.to_string();
        self.ours = Some(made);
        Bytes::from(text)
    }

    pub(crate) fn offer(&mut self) -> Bytes {
        let made = strowger_sdp::offer(&self.capabilities);
        self.keep(made)
    }

    pub(crate) fn answer(&mut self, offer: &SessionDescription) -> Result<(Bytes, Option<Plan>), NoCommonCodec> {
        let made = strowger_sdp::answer(offer, &self.capabilities)?;
        let text = self.keep(made);
        Ok((text, self.plan(offer, true)))
    }

    /// What their answer to our offer means.
    pub(crate) fn answered(&self, answer: &SessionDescription) -> Option<Plan> {
        self.plan(answer, false)
    }

    fn plan(&self, theirs: &SessionDescription, we_answered: bool) -> Option<Plan> {
        let ours = self.ours.as_ref()?;
        let index = ours.audio()?;
        let common = negotiated(ours, theirs, index, we_answered);
        let law_of = |codec: &Codec| [Law::A, Law::Mu].into_iter().find(|law| self::codec(*law).is_same(codec));
        let voices = || common.iter().filter_map(|format| law_of(&format.codec).map(|law| (format, law)));
        let (first, law) = voices().next()?;
        let events = common.iter().find(|format| format.codec.is_telephone_event());
        let direction = ours.direction(index).and(theirs.direction(index).reversed());
        Some(Plan {
            remote: theirs.media_address(index).map(SocketAddr::from),
            law,
            send_type: first.send_type,
            receive_types: voices().map(|(format, law)| (format.receive_type, law)).collect(),
            event_send_type: events.map(|events| events.send_type),
            event_receive_type: events.map(|events| events.receive_type),
            sends: direction.sends(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(port: u16, laws: &[Law]) -> Session {
        Session::new(SocketAddr::from(([127, 0, 0, 1], port)), laws, 1)
    }

    #[test]
    fn both_sides_of_an_offer_and_answer_agree() {
        let (mut caller, mut callee) = (session(4000, &[Law::A, Law::Mu]), session(5000, &[Law::Mu]));
        let offer = read(&caller.offer()).unwrap();
        let (answer, theirs) = callee.answer(&offer).unwrap();
        let (theirs, ours) = (theirs.unwrap(), caller.answered(&read(&answer).unwrap()).unwrap());
        assert_eq!((ours.law, ours.send_type), (Law::Mu, 0));
        assert_eq!((theirs.law, theirs.send_type), (Law::Mu, 0));
        assert_eq!(ours.remote.unwrap().port(), 5000);
        assert_eq!(theirs.remote.unwrap().port(), 4000);
        assert!(ours.sends && theirs.sends && ours.event_send_type.is_some());
    }

    #[test]
    fn a_held_session_does_not_send() {
        let (mut caller, mut callee) = (session(4000, &[Law::A]), session(5000, &[Law::A]));
        let mut offer = read(&caller.offer()).unwrap();
        offer.set_direction(0, strowger_sdp::Direction::SendOnly);
        let (_, plan) = callee.answer(&offer).unwrap();
        assert!(!plan.unwrap().sends);
    }
}
