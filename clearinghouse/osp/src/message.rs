use strowger_clock::Timestamp;

use crate::Status;
use crate::limits::MAX_COMPONENTS;
use crate::record::Record;
use crate::tree::Element;
use crate::types::*;
use crate::usage::UsageIndication;

/// Why a message was not taken, with the status to answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("OSP status {}: {}", status.code, status.description)]
pub struct OspError {
    /// 400, 410, 411 or 412.
    pub status: Status,
    /// `messageId` and `random` of the message, as far as they were read.
    pub message_id: Option<(String, Option<String>)>,
    /// The component at fault, when it was recognized.
    pub component: Option<(ComponentKind, String)>,
}

impl OspError {
    pub(crate) fn new(code: u16, description: impl Into<String>) -> OspError {
        OspError { status: Status::with_description(code, description), message_id: None, component: None }
    }

    /// The OSP answer to the faulty message: the response that belongs to its faulty component, with the status. None when
    /// too little was readable: then the answer is HTTP 400 with the description as text.
    pub fn answer(&self, now: Timestamp) -> Option<Message> {
        let (message_id, random) = self.message_id.clone()?;
        let (kind, component_id) = self.component.clone()?;
        let body = kind.refusal(self.status.clone(), now)?;
        Some(Message { message_id, random, components: vec![Component { component_id, body }] })
    }
}

/// A message: one or more components (TS 101 321 clause 5.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chosen by the sender of the request, echoed in the answer. Not unique: never de-duplicate on it.
    pub message_id: String,
    /// Chosen by the sender of the request, echoed in the answer.
    pub random: Option<String>,
    /// In order.
    pub components: Vec<Component>,
}

/// One request, indication or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Pairs an answer with its request.
    pub component_id: String,
    /// What it says.
    pub body: Body,
}

macro_rules! bodies {
    ($($(#[$meta:meta])* $name:ident($type:ty),)*) => {
        /// What a component says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(clippy::large_enum_variant)]
        pub enum Body { $($(#[$meta])* $name($type),)* }

        /// The kinds of components.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ComponentKind { $($(#[$meta])* $name,)* }

        impl ComponentKind {
            /// The element's name.
            pub const fn as_str(self) -> &'static str {
                match self { $(ComponentKind::$name => stringify!($name),)* }
            }

            fn of(name: &str) -> Option<ComponentKind> {
                match name { $(stringify!($name) => Some(ComponentKind::$name),)* _ => None }
            }

            fn read(self, element: Element) -> Result<Body, OspError> {
                match self { $(ComponentKind::$name => <$type as Record>::read(element).map(Body::$name),)* }
            }
        }

        impl Body {
            /// Which kind it is.
            pub const fn kind(&self) -> ComponentKind {
                match self { $(Body::$name(_) => ComponentKind::$name,)* }
            }

            fn write(&self) -> Element {
                match self { $(Body::$name(value) => value.write(stringify!($name)),)* }
            }
        }
    };
}
bodies! {
    /// May this call be made, and through whom?
    AuthorizationRequest(AuthorizationRequest),
    /// Answer to it.
    AuthorizationResponse(AuthorizationResponse),
    /// May this call that reached me go on?
    AuthorizationIndication(AuthorizationIndication),
    /// Answer to it.
    AuthorizationConfirmation(AuthorizationConfirmation),
    /// What a call used.
    UsageIndication(UsageIndication),
    /// Answer to it.
    UsageConfirmation(Confirmation),
    /// What a device can do.
    CapabilitiesIndication(CapabilitiesIndication),
    /// Answer to it.
    CapabilitiesConfirmation(Confirmation),
    /// More time for a call.
    ReauthorizationRequest(ReauthorizationRequest),
    /// Answer to it.
    ReauthorizationResponse(ReauthorizationResponse),
    /// A price.
    PricingIndication(PricingIndication),
    /// Answer to it.
    PricingConfirmation(Confirmation),
}

impl ComponentKind {
    /// The answer of this kind's exchange with a status and nothing else; none when the kind is itself an answer.
    pub fn refusal(self, status: Status, now: Timestamp) -> Option<Body> {
        let timestamp = Some(now);
        Some(match self {
            ComponentKind::AuthorizationRequest => Body::AuthorizationResponse(AuthorizationResponse {
                timestamp,
                status,
                transaction_id: None,
                destinations: Vec::new(),
            }),
            ComponentKind::AuthorizationIndication => Body::AuthorizationConfirmation(AuthorizationConfirmation {
                timestamp,
                status,
                valid_after: None,
                valid_until: None,
            }),
            ComponentKind::ReauthorizationRequest => Body::ReauthorizationResponse(ReauthorizationResponse {
                timestamp,
                status,
                transaction_id: None,
                destinations: Vec::new(),
            }),
            ComponentKind::UsageIndication => Body::UsageConfirmation(Confirmation { timestamp, status }),
            ComponentKind::CapabilitiesIndication => Body::CapabilitiesConfirmation(Confirmation { timestamp, status }),
            ComponentKind::PricingIndication => Body::PricingConfirmation(Confirmation { timestamp, status }),
            _ => return None,
        })
    }
}

impl Body {
    /// The status that an answer carries; none in requests and indications.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Body::AuthorizationResponse(answer) => Some(&answer.status),
            Body::AuthorizationConfirmation(answer) => Some(&answer.status),
            Body::ReauthorizationResponse(answer) => Some(&answer.status),
            Body::UsageConfirmation(answer)
            | Body::CapabilitiesConfirmation(answer)
            | Body::PricingConfirmation(answer) => Some(&answer.status),
            _ => None,
        }
    }

    /// `(CustomerId, DeviceId)` that a request or indication carries.
    pub fn sender(&self) -> (Option<&str>, Option<&str>) {
        let (customer, device) = match self {
            Body::AuthorizationRequest(request) => (&request.customer_id, &request.device_id),
            Body::AuthorizationIndication(request) => (&request.customer_id, &request.device_id),
            Body::ReauthorizationRequest(request) => (&request.customer_id, &request.device_id),
            Body::UsageIndication(request) => (&request.customer_id, &request.device_id),
            Body::CapabilitiesIndication(request) => (&request.customer_id, &request.device_id),
            Body::PricingIndication(request) => (&request.customer_id, &request.device_id),
            _ => return (None, None),
        };
        (customer.as_deref(), device.as_deref())
    }
}

impl Component {
    /// The answer to this request or indication with a status and nothing else (for indications that is the whole answer); none
    /// when this is itself an answer.
    pub fn reply(&self, status: Status, now: Timestamp) -> Option<Component> {
        let body = self.body.kind().refusal(status, now)?;
        Some(Component { component_id: self.component_id.clone(), body })
    }
}

impl Message {
    /// Reads an XML document.
    ///
    /// # Errors
    /// 410 for wrong characters or base64, 411 for what is not well-formed or beyond a [limit](crate::limits), 400 for a missing
    /// mandatory element or a value that is none, 412 for an unknown element that says `critical="true"`.
    pub fn parse(bytes: &[u8]) -> Result<Message, OspError> {
        let root = Element::parse(bytes)?;
        if root.name != "Message" {
            return Err(OspError::new(Status::BAD_REQUEST, format!("{} is not an OSP message", root.name)));
        }
        let message_id = root.attribute_value("messageId").map(str::to_owned);
        let random = root.attribute_value("random").map(str::to_owned);
        let message_id = message_id.ok_or_else(|| OspError::new(Status::BAD_REQUEST, "messageId is missing"))?;
        let with_ids = |error: OspError| OspError { message_id: Some((message_id.clone(), random.clone())), ..error };
        let components = read_components(root.children).map_err(with_ids)?;
        Ok(Message { message_id, random, components })
    }

    /// The XML document, UTF-8, as OSP clients accept it.
    pub fn to_xml(&self) -> String {
        let mut root = Element::named("Message").attribute("messageId", self.message_id.clone());
        if let Some(random) = &self.random {
            root = root.attribute("random", random.clone());
        }
        for component in &self.components {
            root.push(component.body.write().attribute("componentId", component.component_id.clone()));
        }
        root.to_xml()
    }

    /// An answer to this message: its ids, and these components.
    pub fn answer(&self, components: Vec<Component>) -> Message {
        Message { message_id: self.message_id.clone(), random: self.random.clone(), components }
    }
}

fn read_components(elements: Vec<Element>) -> Result<Vec<Component>, OspError> {
    if elements.len() > MAX_COMPONENTS {
        return Err(OspError::new(Status::PARSE_ERROR, format!("more than {MAX_COMPONENTS} components")));
    }
    let mut components = Vec::with_capacity(elements.len());
    for element in elements {
        let Some(kind) = ComponentKind::of(&element.name) else {
            if element.is_critical() {
                let what = format!("critical component {} is not supported", element.name);
                return Err(OspError::new(Status::CRITICAL_ELEMENT, what));
            }
            continue;
        };
        let component_id = element
            .attribute_value("componentId")
            .ok_or_else(|| OspError::new(Status::BAD_REQUEST, format!("componentId is missing in {}", element.name)))?
            .to_owned();
        let at_fault = |error: OspError| OspError { component: Some((kind, component_id.clone())), ..error };
        let body = kind.read(element).and_then(check).map_err(at_fault)?;
        components.push(Component { component_id, body });
    }
    if components.is_empty() {
        return Err(OspError::new(Status::BAD_REQUEST, "message holds no component that is known"));
    }
    Ok(components)
}

/// What must be there at least once although the type allows any number.
fn check(body: Body) -> Result<Body, OspError> {
    let missing = |name: &str| {
        Err(OspError::new(
            Status::BAD_REQUEST,
            format!("mandatory element {name} is missing in {}", body.kind().as_str()),
        ))
    };
    match &body {
        Body::AuthorizationRequest(request) if request.call_ids.is_empty() => missing("CallId"),
        Body::AuthorizationRequest(request) if request.source_info.is_empty() => missing("SourceInfo"),
        Body::AuthorizationRequest(request) if request.destination_info.is_empty() => missing("DestinationInfo"),
        Body::ReauthorizationRequest(request) if request.destination_info.is_empty() => missing("DestinationInfo"),
        _ => Ok(body),
    }
}
