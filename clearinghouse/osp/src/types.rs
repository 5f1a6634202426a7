//! Elements of authorization, reauthorization, capabilities and pricing.

use strowger_clock::Timestamp;

use crate::Status;
use crate::record::{Base64, Decimal, Flag, Typed, record, words};
use crate::usage::{Role, UsageDetail};

words! {
    /// How a number or address is written (`type` of SourceInfo, DestinationInfo and their relatives).
    pub enum AddressKind {
        /// E.164 digits, without a plus.
        E164 = "e164",
        /// A SIP URI.
        Sip = "sip",
        /// Any URL.
        Url = "url",
        /// A display name.
        DisplayName = "displayname",
    }
}

impl Default for AddressKind {
    /// What an element without `type` means (TS 101 321 clause 5.2.4).
    fn default() -> Self {
        AddressKind::E164
    }
}

/// Names of the kinds of alternates, the `type` of SourceAlternate and DestinationAlternate.
pub mod alternate {
    /// `[ip]:port` of the gateway.
    pub const TRANSPORT: &str = "transport";
    /// Name of the network.
    pub const NETWORK: &str = "network";
    /// Name of the switch.
    pub const SWITCH: &str = "switchId";
    /// Name of the subscriber.
    pub const SUBSCRIBER: &str = "subscriber";
    /// Name of the device.
    pub const DEVICE: &str = "deviceId";
    /// The address by which a proxy received the call.
    pub const INGRESS: &str = "ingress";
    /// The address to which a proxy sent the call.
    pub const EGRESS: &str = "egress";
}

record! {
    /// What service the numbers are for; an empty element means voice.
    #[derive(Default)]
    pub struct Service {
        /// `voice`, `video`, `data`, …: the `type` attribute, or the text.
        service_type: Option<Typed> = "ServiceType",
        /// Which of several services of the type.
        service_id: Option<String> = "ServiceId",
    }
}

impl Service {
    /// The service type, `voice` when nothing is said.
    pub fn name(&self) -> &str {
        match &self.service_type {
            Some(service) if !service.kind.is_empty() => &service.kind,
            Some(service) if !service.value.is_empty() => &service.value,
            _ => "voice",
        }
    }
}

record! {
    /// A price: what the caller's carrier would pay at most, what a gateway asks, or a standalone tariff offer.
    #[derive(Default)]
    pub struct PricingIndication {
        /// When it was written.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Calling number or prefix the price holds for.
        source_info: Vec<Typed> = "SourceInfo",
        /// Called number or prefix the price holds for.
        destination_info: Vec<Typed> = "DestinationInfo",
        /// Price of one increment, in `currency`.
        amount: Option<Decimal> = "Amount",
        /// How many units are counted at once.
        increment: Option<u32> = "Increment",
        /// `s` seconds, `min` minutes, `pkt`, `byte`, …
        unit: Option<String> = "Unit",
        /// ISO 4217 code.
        currency: Option<String> = "Currency",
        /// What the price is for.
        service: Option<Service> = "Service",
        /// From when.
        valid_after: Option<Timestamp> = "ValidAfter",
        /// Until when.
        valid_until: Option<Timestamp> = "ValidUntil",
        /// Which customer.
        customer_id: Option<String> = "CustomerId",
        /// Which device.
        device_id: Option<String> = "DeviceId",
    }
}

/// One of up to 32 pieces of free information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custom {
    /// 1 to 32, as written.
    pub index: String,
    /// The information.
    pub octets: Base64,
}

impl crate::record::Value for Custom {
    fn from_element(element: crate::tree::Element) -> Result<Self, crate::OspError> {
        let index = element.attribute_value("index").unwrap_or_default().to_owned();
        Ok(Custom { index, octets: Base64::decode(&element)? })
    }
    fn to_element(&self, name: &'static str) -> crate::tree::Element {
        let element = self.octets.encode(name);
        if self.index.is_empty() { element } else { element.attribute("index", self.index.clone()) }
    }
}

record! {
    /// Who a party is inside its own organization.
    #[derive(Default)]
    pub struct PartyInfo {
        /// Name.
        user_name: Option<String> = "UserName",
        /// Account.
        user_id: Option<String> = "UserId",
        /// Department.
        user_group: Option<String> = "UserGroup",
    }
}

record! {
    /// The SIP Identity header (RFC 8224) as a switch received it.
    #[derive(Default)]
    pub struct Identity {
        /// The signature.
        signature: Option<Base64> = "IdSign",
        /// `alg`.
        algorithm: Option<String> = "IdAlg",
        /// `info`: where the certificate is.
        info: Option<String> = "IdInfo",
        /// `ppt`.
        kind: Option<String> = "IdType",
        /// The canonical string that was signed.
        canonical: Option<Base64> = "IdCanon",
    }
}

record! {
    /// "May this call be made, and through whom?"
    #[derive(Default)]
    pub struct AuthorizationRequest {
        /// When the device asked.
        timestamp: Option<Timestamp> = "Timestamp",
        /// One call id for each destination that would be accepted, at least one.
        call_ids: Vec<Base64> = "CallId",
        /// Calling number, then its other forms; `kind` as [`AddressKind`].
        source_info: Vec<Typed> = "SourceInfo",
        /// Where the call came from; see [`alternate`].
        source_alternates: Vec<Typed> = "SourceAlternate",
        /// The device that sent the call to the asking one.
        device_info: Vec<Typed> = "DeviceInfo",
        /// Called number, then number portability (`spid`, `ocn`, `mcc`, …).
        destination_info: Vec<Typed> = "DestinationInfo",
        /// Routes the asker would prefer; see [`alternate`].
        destination_alternates: Vec<Typed> = "DestinationAlternate",
        /// What the asker would pay at most.
        pricing: Vec<PricingIndication> = "PricingIndication",
        /// Voice, video, data.
        service: Option<Service> = "Service",
        /// How many destinations the asker wants at most.
        maximum_destinations: Option<u32> = "MaximumDestinations",
        /// Customer number of the asker.
        customer_id: Option<String> = "CustomerId",
        /// Device number of the asker.
        device_id: Option<String> = "DeviceId",
        /// Free information.
        custom: Vec<Custom> = "CustomInfo",
        /// Realm of the caller.
        source_realm: Option<String> = "SourceRealm",
        /// Realm of the called.
        destination_realm: Option<String> = "DestinationRealm",
        /// The From header.
        from: Vec<Typed> = "FromSourceInfo",
        /// The To header.
        to: Vec<Typed> = "ToDestinationInfo",
        /// P-Asserted-Identity (RFC 3325).
        asserted_id: Vec<Typed> = "AssertedIdSourceInfo",
        /// Remote-Party-ID.
        remote_party_id: Vec<Typed> = "RemotePartyIdSourceInfo",
        /// P-Charge-Info (RFC 8496).
        charge_info: Vec<Typed> = "ChargeInfoSourceInfo",
        /// Diversion (RFC 5806).
        diversion: Vec<Typed> = "DiversionSourceInfo",
        /// The device that diverted.
        diversion_device: Vec<Typed> = "DiversionDeviceInfo",
        /// Application.
        application_id: Option<String> = "ApplicationId",
        /// User-Agent of the phone.
        user_agent: Option<String> = "UserAgent",
        /// Audio address offered by the caller.
        source_audio_address: Option<String> = "SourceAudioAddress",
        /// Video address offered by the caller.
        source_video_address: Option<String> = "SourceVideoAddress",
        /// Jurisdiction information parameter.
        jip: Option<String> = "JIP",
        /// Service providers by side.
        service_provider_id: Vec<Typed> = "ServiceProviderId",
        /// The caller.
        calling_party: Option<PartyInfo> = "CallingPartyInfo",
        /// The called.
        called_party: Option<PartyInfo> = "CalledPartyInfo",
        /// Date header.
        sip_request_date: Option<String> = "SipRequestDate",
        /// `a=fingerprint` of the offer.
        sdp_fingerprints: Vec<String> = "SdpFingerPrint",
        /// STIR identity.
        identity: Option<Identity> = "Identity",
        /// P-Charging-Vector (RFC 7315).
        charging_vector: Vec<Typed> = "ChargingVector",
    }
}

impl AuthorizationRequest {
    /// The calling number: the first SourceInfo, as sent.
    pub fn calling(&self) -> Option<&Typed> {
        self.source_info.first()
    }

    /// The called number: the first DestinationInfo, as sent.
    pub fn called(&self) -> Option<&Typed> {
        self.destination_info.first()
    }

    /// The call id for the destination of this rank (0 is the best): the asker's own for it, the first when it gave fewer.
    pub fn call_id_for(&self, rank: usize) -> Option<&Base64> {
        self.call_ids.get(rank).or(self.call_ids.first())
    }
}

record! {
    /// One gateway that will take the call.
    #[derive(Default)]
    pub struct Destination {
        /// Calling number to send.
        source_info: Vec<Typed> = "SourceInfo",
        /// Called number to send.
        destination_info: Vec<Typed> = "DestinationInfo",
        /// `[ip]:port`, or a host name with port, of the gateway.
        signal_address: Option<String> = "DestinationSignalAddress",
        /// Network of the gateway and the like; see [`alternate`].
        destination_alternates: Vec<Typed> = "DestinationAlternate",
        /// DER of the token for this gateway.
        tokens: Vec<Base64> = "Token",
        /// From when the token holds.
        valid_after: Option<Timestamp> = "ValidAfter",
        /// Until when the token holds.
        valid_until: Option<Timestamp> = "ValidUntil",
        /// What is granted: Amount seconds.
        usage_details: Vec<UsageDetail> = "UsageDetail",
        /// Call id to use with this gateway.
        call_id: Option<Base64> = "CallId",
        /// `sip`, `h323-Q931`, `iax`, …
        signaling_protocol: Option<String> = "SignalingProtocol",
        /// Whether the gateway wants a token: `0.0.0` for no.
        osp_version: Option<String> = "OSPVersion",
        /// What the gateway costs.
        pricing: Vec<PricingIndication> = "PricingIndication",
    }
}

record! {
    /// "Yes, through these, in this order" or a status that says why not.
    pub struct AuthorizationResponse {
        /// When the server answered.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Always there.
        status: Status = "Status",
        /// The clearinghouse's number of the call.
        transaction_id: Option<u64> = "TransactionId",
        /// Best first.
        destinations: Vec<Destination> = "Destination",
    }
}

record! {
    /// A gateway asks whether a call that reached it may go on.
    #[derive(Default)]
    pub struct AuthorizationIndication {
        /// When the device asked.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Usually destination.
        role: Option<Role> = "Role",
        /// Call id.
        call_id: Option<Base64> = "CallId",
        /// Calling number.
        source_info: Vec<Typed> = "SourceInfo",
        /// See [`alternate`].
        source_alternates: Vec<Typed> = "SourceAlternate",
        /// Called number.
        destination_info: Vec<Typed> = "DestinationInfo",
        /// See [`alternate`].
        destination_alternates: Vec<Typed> = "DestinationAlternate",
        /// What is asked for.
        usage_details: Vec<UsageDetail> = "UsageDetail",
        /// From when.
        valid_after: Option<Timestamp> = "ValidAfter",
        /// Until when.
        valid_until: Option<Timestamp> = "ValidUntil",
        /// Tokens that came with the call.
        tokens: Vec<Base64> = "Token",
        /// Number of the call.
        transaction_id: Option<u64> = "TransactionId",
        /// Customer number.
        customer_id: Option<String> = "CustomerId",
        /// Device number.
        device_id: Option<String> = "DeviceId",
    }
}

record! {
    /// Answer to [`AuthorizationIndication`].
    pub struct AuthorizationConfirmation {
        /// When the server answered.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Whether the call may go on.
        status: Status = "Status",
        /// From when.
        valid_after: Option<Timestamp> = "ValidAfter",
        /// Until when.
        valid_until: Option<Timestamp> = "ValidUntil",
    }
}

record! {
    /// More time for a running call.
    pub struct ReauthorizationRequest {
        /// When the device asked.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Who asks.
        role: Role = "Role",
        /// Call id.
        call_id: Base64 = "CallId",
        /// Calling number.
        source_info: Vec<Typed> = "SourceInfo",
        /// See [`alternate`].
        source_alternates: Vec<Typed> = "SourceAlternate",
        /// Called number.
        destination_info: Vec<Typed> = "DestinationInfo",
        /// See [`alternate`].
        destination_alternates: Vec<Typed> = "DestinationAlternate",
        /// Number of the call.
        transaction_id: u64 = "TransactionId",
        /// What was used so far.
        usage_details: Vec<UsageDetail> = "UsageDetail",
        /// The token in use.
        tokens: Vec<Base64> = "Token",
        /// Customer number.
        customer_id: Option<String> = "CustomerId",
        /// Device number.
        device_id: Option<String> = "DeviceId",
    }
}

record! {
    /// Answer to [`ReauthorizationRequest`]: one destination with a new token and grant.
    pub struct ReauthorizationResponse {
        /// When the server answered.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Whether there is more.
        status: Status = "Status",
        /// Number of the call.
        transaction_id: Option<u64> = "TransactionId",
        /// Token and UsageDetail of the new grant.
        destinations: Vec<Destination> = "Destination",
    }
}

record! {
    /// "I am here, and this is what I can do."
    #[derive(Default)]
    pub struct CapabilitiesIndication {
        /// When.
        timestamp: Option<Timestamp> = "Timestamp",
        /// The device.
        device_info: Vec<Typed> = "DeviceInfo",
        /// Its addresses; see [`alternate`].
        source_alternates: Vec<Typed> = "SourceAlternate",
        /// Version of the protocol.
        osp_version: Option<String> = "OSPVersion",
        /// How busy it is.
        resources: Option<Resources> = "Resources",
        /// Customer number.
        customer_id: Option<String> = "CustomerId",
        /// Device number.
        device_id: Option<String> = "DeviceId",
    }
}

record! {
    /// Load of a device (H.323 resource availability indication).
    #[derive(Default)]
    pub struct Resources {
        /// What is counted.
        data_rate: Vec<DataRate> = "DataRate",
        /// Whether new calls should go elsewhere.
        almost_out_of_resources: Option<Flag> = "AlmostOutOfResources",
    }
}

record! {
    /// Capacity for one rate.
    #[derive(Default)]
    pub struct DataRate {
        /// Calls that fit.
        number_of_channels: Option<u32> = "NumberOfChannels",
        /// Bits per second.
        bandwidth: Option<u32> = "Bandwidth",
    }
}

record! {
    /// Answer that is a status alone: to usage, capabilities and pricing indications.
    pub struct Confirmation {
        /// When the server answered.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Whether it was taken.
        status: Status = "Status",
    }
}
