//! Elements of usage reports.

use strowger_clock::Timestamp;

use crate::record::{Base64, Decimal, Directed, Typed, record, words};
use crate::types::{Custom, PartyInfo, PricingIndication, Service};

words! {
    /// Whose view of the call it is.
    pub enum Role {
        /// The device that sent the call.
        Source = "source",
        /// The device that received the call.
        Destination = "destination",
        /// Any other.
        Other = "other",
    }
}

impl Default for Role {
    /// A device that says nothing sent the call.
    fn default() -> Self {
        Role::Source
    }
}

words! {
    /// Which part of the call a report is about.
    pub enum State {
        /// The call began.
        Start = "start",
        /// It goes on.
        Interim = "interim",
        /// It ended.
        Stop = "stop",
    }
}

record! {
    /// More about a report's role.
    #[derive(Default)]
    pub struct RoleInfo {
        /// `start`, `interim`, `stop`; one client writes `stop1`, `start2`, ….
        state: Option<State> = "State",
        /// Where the report came from, e.g. `radius`.
        format: Option<String> = "Format",
        /// Whose equipment.
        vendor: Option<String> = "VendorInfo",
    }
}

record! {
    /// Why the call ended, in one protocol's terms (the `type` of the element: `q850`, `sip`, `h323`, `xmpp`).
    #[derive(Default)]
    pub struct TerminationCause {
        @attributes {
            /// Protocol of the code.
            kind = "type",
        }
        /// The code; some clients add 1000 to Q.850 causes.
        code: u32 = "TCCode",
        /// For people.
        description: Option<String> = "Description",
    }
}

record! {
    /// A group of calls.
    #[derive(Default)]
    pub struct Group {
        /// Its name.
        group_id: Option<String> = "GroupId",
    }
}

record! {
    /// Where call records are kept.
    #[derive(Default)]
    pub struct CdrProxy {
        /// Host.
        host: Option<String> = "Host",
        /// Folder.
        folder: Option<String> = "FolderName",
        /// Folder within.
        subfolder: Option<String> = "SubfolderName",
    }
}

record! {
    /// Packets lost.
    #[derive(Default)]
    pub struct Loss {
        @attributes {
            /// E.g. `source-to-reporter`; none in LossSent and LossReceived.
            direction = "direction",
        }
        /// Number of packets.
        packets: Option<u64> = "Packets",
        /// Share of all, 0 to 255 (RTCP fraction).
        fraction: Option<u32> = "Fraction",
    }
}

record! {
    /// Distribution of a time, in milliseconds.
    #[derive(Default)]
    pub struct Spread {
        @attributes {
            /// E.g. `source-to-reporter`.
            direction = "direction",
            /// `source` or `destination`, for round trips.
            side = "type",
        }
        /// How many were measured.
        samples: Option<u64> = "Samples",
        /// Smallest.
        minimum: Option<u64> = "Minimum",
        /// Largest.
        maximum: Option<u64> = "Maximum",
        /// Mean.
        mean: Option<u64> = "Mean",
        /// Variance, square milliseconds.
        variance: Option<Decimal> = "Variance",
    }
}

record! {
    /// Quality measured on one kind of stream.
    #[derive(Default)]
    pub struct Metrics {
        @attributes {
            /// `voice`, `video`.
            service = "service",
            /// `rtp`: measured by the reporter; `rtcp`: reported by the far end.
            kind = "type",
        }
        /// Losses by direction.
        lost: Vec<Loss> = "Lost",
        /// Jitter by direction.
        jitter: Vec<Spread> = "Jitter",
        /// One-way delay by direction.
        delay: Vec<Spread> = "Delay",
        /// Round trip by side.
        round_trip_delay: Vec<Spread> = "RoundTripDelay",
        /// Octets by direction.
        total_octets: Vec<Directed<u64>> = "TotalOctets",
        /// Packets by direction.
        total_packets: Vec<Directed<u64>> = "TotalPackets",
    }
}

record! {
    /// Quality of the call's media.
    #[derive(Default)]
    pub struct Statistics {
        /// Lost on the way out.
        loss_sent: Option<Loss> = "LossSent",
        /// Lost on the way in.
        loss_received: Option<Loss> = "LossReceived",
        /// One-way delay.
        one_way_delay: Option<Spread> = "OneWayDelay",
        /// Round trip delay.
        round_trip_delay: Option<Spread> = "RoundTripDelay",
        /// By service and stream.
        metrics: Vec<Metrics> = "Metrics",
        /// E-model rating (ITU-T G.107).
        r_factor: Vec<Directed<Decimal>> = "RFactor",
        /// Conversational mean opinion score.
        mos_cq: Vec<Directed<Decimal>> = "MOSCQ",
        /// Listening mean opinion score.
        mos_lq: Vec<Directed<Decimal>> = "MOSLQ",
        /// Impairment factor (ITU-T G.113).
        icpif: Vec<Directed<u32>> = "ICPIF",
    }
}

record! {
    /// What was used, or is granted.
    #[derive(Default)]
    pub struct UsageDetail {
        /// What service.
        service: Option<Service> = "Service",
        /// Why it ended, in the terms of each protocol on the way.
        termination_causes: Vec<TerminationCause> = "TerminationCause",
        /// Signaling protocols by side.
        signaling_protocols: Vec<Typed> = "SignalingProtocol",
        /// Codecs.
        codecs: Vec<CodecName> = "Codec",
        /// Call ids of the legs by side.
        session_ids: Vec<Typed<Base64>> = "SessionId",
        /// How many units: whole seconds of a call.
        amount: Option<u64> = "Amount",
        /// How many units are counted at once.
        increment: Option<u32> = "Increment",
        /// `s`, `pkt`, `byte`, …
        unit: Option<String> = "Unit",
        /// Call set-up began.
        start_time: Option<Timestamp> = "StartTime",
        /// Call ended.
        end_time: Option<Timestamp> = "EndTime",
        /// Far end rang.
        alert_time: Option<Timestamp> = "AlertTime",
        /// Far end answered.
        connect_time: Option<Timestamp> = "ConnectTime",
        /// Seconds from dialing to ringing, by side.
        post_dial_delay: Vec<Typed<Decimal>> = "PostDialDelay",
        /// Who hung up: `source`, `destination`, `unknown`, …
        release_source: Option<String> = "ReleaseSource",
        /// Quality.
        statistics: Option<Statistics> = "Statistics",
        /// `[ip]:port` of media.
        source_audio_address: Option<String> = "SourceAudioAddress",
        /// `[ip]:port` of media.
        source_video_address: Option<String> = "SourceVideoAddress",
        /// `[ip]:port` of media.
        destination_audio_address: Option<String> = "DestinationAudioAddress",
        /// `[ip]:port` of media.
        destination_video_address: Option<String> = "DestinationVideoAddress",
    }
}

/// A codec's name with its service and side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecName {
    /// `voice`, `video`.
    pub service: Option<String>,
    /// `source`, `destination`.
    pub side: Option<String>,
    /// E.g. `g729`.
    pub name: String,
}

impl crate::record::Value for CodecName {
    fn from_element(element: crate::tree::Element) -> Result<Self, crate::OspError> {
        let attribute = |name: &str| element.attribute_value(name).map(str::to_owned);
        Ok(CodecName { service: attribute("service"), side: attribute("type"), name: element.text.clone() })
    }
    fn to_element(&self, name: &'static str) -> crate::tree::Element {
        let mut element = crate::tree::Element::with_text(name, self.name.clone());
        if let Some(service) = &self.service {
            element = element.attribute("service", service.clone());
        }
        if let Some(side) = &self.side {
            element = element.attribute("type", side.clone());
        }
        element
    }
}

record! {
    /// "This is what the call used."
    #[derive(Default)]
    pub struct UsageIndication {
        /// When the device reported.
        timestamp: Option<Timestamp> = "Timestamp",
        /// Whose view.
        role: Role = "Role",
        /// Which part of the call.
        role_info: Option<RoleInfo> = "RoleInfo",
        /// The clearinghouse's number of the call.
        transaction_id: u64 = "TransactionId",
        /// Call id.
        call_id: Base64 = "CallId",
        /// Calling number.
        source_info: Vec<Typed> = "SourceInfo",
        /// See [`alternate`](crate::alternate).
        source_alternates: Vec<Typed> = "SourceAlternate",
        /// Called number, then number portability.
        destination_info: Vec<Typed> = "DestinationInfo",
        /// The gateway (`transport`) and its names; see [`alternate`](crate::alternate).
        destination_alternates: Vec<Typed> = "DestinationAlternate",
        /// Devices on the way.
        device_info: Vec<Typed> = "DeviceInfo",
        /// The price that the reporter counted with.
        pricing: Vec<PricingIndication> = "PricingIndication",
        /// Voice, video, data.
        service: Option<Service> = "Service",
        /// Which try it was, from 1.
        setup_attempt: Option<u32> = "SetupAttempt",
        /// How many tries there were.
        total_setup_attempts: Option<u32> = "TotalSetupAttempts",
        /// Group of calls.
        group: Option<Group> = "Group",
        /// Free information.
        custom: Vec<Custom> = "CustomInfo",
        /// The caller.
        calling_party: Option<PartyInfo> = "CallingPartyInfo",
        /// The called.
        called_party: Option<PartyInfo> = "CalledPartyInfo",
        /// Transfer.
        transfer_id: Option<String> = "TransferId",
        /// Which side transferred.
        transfer_status: Option<String> = "TransferStatus",
        /// What was used; more than one when services differ.
        usage_details: Vec<UsageDetail> = "UsageDetail",
        /// Customer number.
        customer_id: Option<String> = "CustomerId",
        /// Device number.
        device_id: Option<String> = "DeviceId",
        /// Realm of the caller.
        source_realm: Option<String> = "SourceRealm",
        /// Realm of the called.
        destination_realm: Option<String> = "DestinationRealm",
        /// The From header.
        from: Vec<Typed> = "FromSourceInfo",
        /// The To header.
        to: Vec<Typed> = "ToDestinationInfo",
        /// P-Asserted-Identity.
        asserted_id: Vec<Typed> = "AssertedIdSourceInfo",
        /// Remote-Party-ID.
        remote_party_id: Vec<Typed> = "RemotePartyIdSourceInfo",
        /// P-Charge-Info.
        charge_info: Vec<Typed> = "ChargeInfoSourceInfo",
        /// Diversion.
        diversion: Vec<Typed> = "DiversionSourceInfo",
        /// The device that diverted.
        diversion_device: Vec<Typed> = "DiversionDeviceInfo",
        /// Application.
        application_id: Option<String> = "ApplicationId",
        /// User-Agent of the phone.
        user_agent: Option<String> = "UserAgent",
        /// Called number as the network translated it.
        network_translated_called_number: Vec<Typed> = "NetworkTranslatedCalledNumber",
        /// Service providers by side.
        service_provider_id: Vec<Typed> = "ServiceProviderId",
        /// System.
        system_id: Option<String> = "SystemId",
        /// Why another call id is related.
        related_call_id_reason: Option<String> = "RelatedCallIdReason",
        /// Where records are kept.
        cdr_proxy: Option<CdrProxy> = "CDRProxy",
        /// Jurisdiction information parameter.
        jip: Option<String> = "JIP",
        /// Type of call.
        call_type: Option<String> = "CallType",
        /// Category of call.
        call_category: Option<String> = "CallCategory",
        /// Type of network.
        network_type: Option<String> = "NetworkType",
        /// Date header.
        sip_request_date: Option<String> = "SipRequestDate",
        /// `a=fingerprint` of the offer.
        sdp_fingerprints: Vec<String> = "SdpFingerPrint",
        /// P-Charging-Vector.
        charging_vector: Vec<Typed> = "ChargingVector",
    }
}

impl UsageIndication {
    /// A report with what is mandatory; fill in the rest.
    pub fn new(role: Role, transaction_id: u64, call_id: impl Into<Base64>) -> UsageIndication {
        UsageIndication { role, transaction_id, call_id: call_id.into(), ..UsageIndication::default() }
    }

    /// The called number: the first DestinationInfo, as sent.
    pub fn called(&self) -> Option<&Typed> {
        self.destination_info.first()
    }

    /// The calling number: the first SourceInfo, as sent.
    pub fn calling(&self) -> Option<&Typed> {
        self.source_info.first()
    }

    /// `[ip]:port` of the gateway that the report is about.
    pub fn destination_address(&self) -> Option<&str> {
        let transport = |alternate: &&Typed| alternate.kind == crate::alternate::TRANSPORT;
        self.destination_alternates.iter().find(transport).map(|alternate| alternate.value.as_str())
    }

    /// Seconds used, summed over the details that count seconds.
    pub fn duration_seconds(&self) -> u64 {
        let seconds = |detail: &&UsageDetail| detail.unit.as_deref().is_none_or(|unit| unit == "s");
        self.usage_details.iter().filter(seconds).filter_map(|detail| detail.amount).fold(0, u64::saturating_add)
    }

    /// The Q.850 cause (1 to 127), without the thousand that some clients add; none when only other protocols' codes came.
    pub fn q850_cause(&self) -> Option<u32> {
        let causes = self.usage_details.iter().flat_map(|detail| &detail.termination_causes);
        let mut q850 = causes.filter(|cause| cause.kind.as_deref().is_none_or(|kind| kind == "q850"));
        q850.next().map(|cause| if (1000..2000).contains(&cause.code) { cause.code - 1000 } else { cause.code })
    }

    /// The status of the final SIP response by which the attempt failed, when it was reported.
    pub fn sip_status(&self) -> Option<u32> {
        let mut causes = self.usage_details.iter().flat_map(|detail| &detail.termination_causes);
        causes.find(|cause| cause.kind.as_deref() == Some("sip")).map(|cause| cause.code)
    }
}
