//! What a gateway is told at its start.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use strowger_gateway_core::Limits;
use strowger_isup::Tariff;
use strowger_net::{ListenAddress, Tap};
use strowger_trunk::{ExchangeConfig, SignalTap, Subscriber, TrunkConfig};

/// Where the key comes from that tokens are verified with.
#[derive(Clone, Debug)]
pub enum AuthoritySource {
    /// Certificates of authorities, PEM (any number in one text).
    Pem(String),
    /// Certificates of authorities, DER.
    Der(Vec<Vec<u8>>),
    /// Asked of the clearinghouse (`getcacert` at `/tep` beside the OSP URLs) until it answers; calls are answered 503 till then.
    Clearinghouse,
}

/// The trunk to the simulated exchange.
#[derive(Clone, Debug)]
pub struct TrunkSettings {
    /// Our signalling point code.
    pub point_code: u16,
    /// The exchange's.
    pub exchange_point_code: u16,
    /// Which E1.
    pub span: u8,
    /// Numbers behind the exchange; `None`: the test numbers 12125550100 to 105.
    pub numbers: Option<Vec<Subscriber>>,
    /// From ringing to answer.
    pub ring: Duration,
    /// From ringing to the release of a number that does not answer.
    pub exchange_no_answer: Duration,
    /// What answered calls cost, told in charge messages; `None`: none are sent.
    pub tariff: Option<Tariff>,
}

impl Default for TrunkSettings {
    fn default() -> TrunkSettings {
        TrunkSettings {
            point_code: 1,
            exchange_point_code: 2,
            span: 0,
            numbers: None,
            ring: Duration::from_secs(1),
            exchange_no_answer: Duration::from_secs(30),
            tariff: Some(Tariff { currency: *b"USD", setup_micros: 0, interval_micros: 10_000, interval_ms: 6_000 }),
        }
    }
}

impl TrunkSettings {
    pub(crate) fn trunk(&self) -> Result<TrunkConfig, strowger_trunk::ConfigError> {
        TrunkConfig::new(self.point_code, self.exchange_point_code, self.span)
    }

    pub(crate) fn exchange(&self, trunk: TrunkConfig) -> ExchangeConfig {
        let mut config = ExchangeConfig::new(trunk.reversed());
        if let Some(numbers) = &self.numbers {
            config.subscribers = numbers.clone();
        }
        config.ring = self.ring;
        config.no_answer = self.exchange_no_answer;
        config.tariff = self.tariff;
        config
    }
}

/// Configuration of a gateway.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Device number at the clearinghouse; tokens name it (`s=`).
    pub device_id: String,
    /// Customer number at the clearinghouse.
    pub customer_id: String,
    /// SIP listeners.
    pub listen: Vec<ListenAddress>,
    /// Written into Via and Contact instead of the bound IP address (needed when that is unspecified).
    pub advertised: Option<IpAddr>,
    /// Media sockets are bound to it and session descriptions name it.
    pub media_address: IpAddr,
    /// RTP ports; even ones are used, the odd one above each is RTCP's.
    pub rtp_ports: RangeInclusive<u16>,
    /// The clearinghouse, in order of preference: `http://host:port/osp`.
    pub osp_urls: Vec<String>,
    /// Whose tokens are believed.
    pub authority: AuthoritySource,
    /// The trunk.
    pub trunk: TrunkSettings,
    /// DiffServ code point of our media packets; `None` leaves marking to the network.
    pub dscp: Option<u8>,
    /// Maxima.
    pub limits: Limits,
    /// Longest ringing.
    pub no_answer: Duration,
    /// A caller that has sent no media for so long is hung up.
    pub media_idle: Duration,
    /// Longest wait for running calls after shutdown or drain.
    pub drain_limit: Duration,
    /// Fault switch for tests and the demo: every INVITE is answered with this status.
    pub refuse_all: Option<u16>,
    /// Sees every ISUP message signal unit, service information octet first (capture link type 141).
    pub msu_tap: Option<SignalTap>,
    /// Sees every SIP message.
    pub sip_tap: Option<Tap>,
}

impl GatewayConfig {
    /// A gateway with the usual settings.
    pub fn new(
        device_id: impl Into<String>,
        customer_id: impl Into<String>,
        listen: Vec<ListenAddress>,
        media_address: IpAddr,
        osp_urls: Vec<String>,
    ) -> GatewayConfig {
        GatewayConfig {
            device_id: device_id.into(),
            customer_id: customer_id.into(),
            listen,
            advertised: None,
            media_address,
            rtp_ports: 20_000..=29_999,
            osp_urls,
            authority: AuthoritySource::Clearinghouse,
            trunk: TrunkSettings::default(),
            dscp: None,
            limits: Limits::default(),
            no_answer: Duration::from_secs(120),
            media_idle: Duration::from_secs(60),
            drain_limit: Duration::from_secs(30),
            refuse_all: None,
            msu_tap: None,
            sip_tap: None,
        }
    }
}

impl std::fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("device_id", &self.device_id)
            .field("listen", &self.listen)
            .field("media_address", &self.media_address)
            .field("osp_urls", &self.osp_urls)
            .finish_non_exhaustive()
    }
}
