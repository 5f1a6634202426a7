//! The four state machines, each a short list of `Signal(From => To) [Action, …]`.
//!
//! The list generates the states, the step function, the every-state × every-signal table and the picture; the last two
//! are kept as snapshots beside this file (`snapshots/`).
//!
//! A machine only says what is to be done. The layer does it: it holds the messages, runs the timers and cancels, on
//! every change of state, those whose expiry the new state does not know.

#[cfg(test)]
mod snapshots;

/// What can happen to a transaction.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Signal {
    /// Server: a request that matches came again.
    Request,
    /// Server: an ACK that matches came.
    Ack,
    /// A 1xx: at a client from the network, at a server from the user.
    Provisional,
    /// A 2xx, likewise.
    Success,
    /// A 300 to 699, likewise.
    Failure,
    /// The transport could not send for this transaction.
    TransportError,
    /// A timer of this transaction expired.
    Expired(Timer),
}

/// The timers of RFC 3261 (and L and M of RFC 6026), and two that it describes without a letter.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Timer {
    /// INVITE client: retransmission.
    A,
    /// INVITE client: no response at all.
    B,
    /// INVITE client: wait for retransmitted final responses.
    D,
    /// Non-INVITE client: retransmission.
    E,
    /// Non-INVITE client: no final response.
    F,
    /// INVITE server: retransmission of the final response.
    G,
    /// INVITE server: no ACK.
    H,
    /// INVITE server: wait for retransmitted ACKs.
    I,
    /// Non-INVITE server: wait for retransmitted requests.
    J,
    /// Non-INVITE client: wait for retransmitted responses.
    K,
    /// INVITE server: wait for retransmitted requests after a 2xx.
    L,
    /// INVITE client: wait for further 2xx.
    M,
    /// INVITE server: 200 ms until we answer 100 ourselves (§17.2.1).
    Trying,
    /// INVITE client: 64*T1 after our CANCEL without a final response (§9.1).
    Canceled,
}

/// What a transition asks of the layer, in this order.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Client: send the request (again).
    SendRequest,
    /// Client: acknowledge the non-2xx final response.
    SendAck,
    /// Server: send the user's latest response (again), if there is one.
    SendResponse,
    /// Server: send a 100 of our own.
    SendTrying,
    /// Give the message to the user.
    PassUp,
    /// Tell the user that nobody answered.
    InformTimeout,
    /// Tell the user that the transport failed.
    InformTransport,
    /// Start the timer with its first interval.
    Start(Timer),
    /// Start it with twice the last interval, A without bound, E and G up to T2 (§17.1.1.2, §17.1.2.2, §17.2.1).
    Double(Timer),
    /// Start it with T2 (§17.1.2.2, Proceeding).
    Longest(Timer),
    /// Stop the timer.
    Stop(Timer),
}

/// One line of a machine's list, for the generated table and picture.
#[cfg(test)]
pub(crate) struct Transition {
    pub(crate) signal: Signal,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) actions: &'static [Action],
}

/// `Signal(From => To) [Action, …];` for each transition; the first state is the initial one, `begin` its actions.
macro_rules! machine {
    (
        $(#[$docs:meta])* $name:ident { $($(#[$state_docs:meta])* $state:ident),+ $(,)? }
        begin [$($begin:expr),*];
        $($signal:ident $([$timer:ident])? ($($from:ident)|+ => $to:ident) [$($action:expr),*];)+
    ) => {
        $(#[$docs])*
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum $name { $($(#[$state_docs])* $state),+ }

        impl $name {
            /// What to do when the transaction is made.
            pub(crate) const BEGIN: &'static [Action] = &[$($begin),*];

            /// The state after a signal and what to do; `None`: the state does not know the signal, nothing happens.
            pub(crate) fn on(self, signal: Signal) -> Option<($name, &'static [Action])> {
                match (signal, self) {
                    $((Signal::$signal $((Timer::$timer))?, $($name::$from)|+) => Some(($name::$to, &[$($action),*])),)+
                    _ => None,
                }
            }

            #[cfg(test)]
            pub(crate) const STATES: &'static [&'static str] = &[$(stringify!($state)),+];

            #[cfg(test)]
            pub(crate) fn transitions() -> Vec<Transition> {
                let mut all = Vec::new();
                $({
                    let signal = Signal::$signal $((Timer::$timer))?;
                    let actions: &'static [Action] = &[$($action),*];
                    for from in [$(stringify!($from)),+] {
                        all.push(Transition { signal, from, to: stringify!($to), actions });
                    }
                })+
                all
            }
        }
    };
}

use Action::*;

machine! {
    /// RFC 3261 §17.1.1, figure 5 as replaced by RFC 6026 §8.4.
    ClientInvite {
        /// Sent, nothing came back.
        Calling,
        /// A provisional response came.
        Proceeding,
        /// A 300 to 699 came and is acknowledged each time it comes again.
        Completed,
        /// A 2xx came; more may, and all are the user's.
        Accepted,
        /// Gone.
        Terminated,
    }
    begin [SendRequest, Start(Timer::A), Start(Timer::B)];
    Expired[A](Calling => Calling) [SendRequest, Double(Timer::A)];
    Expired[B](Calling => Terminated) [InformTimeout];
    TransportError(Calling | Completed => Terminated) [InformTransport];
    Provisional(Calling | Proceeding => Proceeding) [PassUp];
    // the timer starts when our CANCEL goes out (§9.1), which only Proceeding allows
    Expired[Canceled](Proceeding => Terminated) [InformTimeout];
    Success(Calling | Proceeding => Accepted) [PassUp, Start(Timer::M)];
    Success(Accepted => Accepted) [PassUp];
    Expired[M](Accepted => Terminated) [];
    Failure(Calling | Proceeding => Completed) [SendAck, PassUp, Start(Timer::D)];
    Failure(Completed => Completed) [SendAck];
    Expired[D](Completed => Terminated) [];
}

machine! {
    /// RFC 3261 §17.1.2, figure 6.
    ClientNonInvite {
        /// Sent, nothing came back.
        Trying,
        /// A provisional response came.
        Proceeding,
        /// A final response came; further ones are absorbed.
        Completed,
        /// Gone.
        Terminated,
    }
    begin [SendRequest, Start(Timer::E), Start(Timer::F)];
    Expired[E](Trying => Trying) [SendRequest, Double(Timer::E)];
    Expired[E](Proceeding => Proceeding) [SendRequest, Longest(Timer::E)];
    Expired[F](Trying | Proceeding => Terminated) [InformTimeout];
    TransportError(Trying | Proceeding => Terminated) [InformTransport];
    Provisional(Trying | Proceeding => Proceeding) [PassUp];
    Success(Trying | Proceeding => Completed) [PassUp, Start(Timer::K)];
    Failure(Trying | Proceeding => Completed) [PassUp, Start(Timer::K)];
    // said so that a repeated final response counts as absorbed, not as unexpected
    Success(Completed => Completed) [];
    Failure(Completed => Completed) [];
    Expired[K](Completed => Terminated) [];
}

machine! {
    /// RFC 3261 §17.2.1, figure 7 as replaced by RFC 6026 §8.6.
    ServerInvite {
        /// No final response yet.
        Proceeding,
        /// The user sent a 2xx; INVITEs are absorbed, 2xx and ACK are the user's.
        Accepted,
        /// The user sent a 300 to 699; we repeat it until the ACK.
        Completed,
        /// The ACK came; further ones are absorbed.
        Confirmed,
        /// Gone.
        Terminated,
    }
    begin [PassUp, Start(Timer::Trying)];
    Request(Proceeding => Proceeding) [SendResponse];
    Expired[Trying](Proceeding => Proceeding) [SendTrying];
    Provisional(Proceeding => Proceeding) [Stop(Timer::Trying), SendResponse];
    TransportError(Proceeding => Proceeding) [InformTransport];
    Success(Proceeding => Accepted) [SendResponse, Start(Timer::L)];
    Success(Accepted => Accepted) [SendResponse];
    Request(Accepted => Accepted) [];
    Ack(Accepted => Accepted) [PassUp];
    TransportError(Accepted => Accepted) [InformTransport];
    Expired[L](Accepted => Terminated) [];
    Failure(Proceeding => Completed) [SendResponse, Start(Timer::G), Start(Timer::H)];
    Request(Completed => Completed) [SendResponse];
    Expired[G](Completed => Completed) [SendResponse, Double(Timer::G)];
    TransportError(Completed => Completed) [InformTransport];
    Expired[H](Completed => Terminated) [InformTimeout];
    Ack(Completed => Confirmed) [Start(Timer::I)];
    Ack(Confirmed => Confirmed) [];
    Request(Confirmed => Confirmed) [];
    Expired[I](Confirmed => Terminated) [];
}

machine! {
    /// RFC 3261 §17.2.2, figure 8, with RFC 6026 §8.8: a transport error does not end it.
    ServerNonInvite {
        /// No response yet.
        Trying,
        /// The user sent a provisional response.
        Proceeding,
        /// The user sent the final response; it is repeated for each request that comes again.
        Completed,
        /// Gone.
        Terminated,
    }
    begin [PassUp];
    Request(Trying => Trying) [];
    Request(Proceeding => Proceeding) [SendResponse];
    Provisional(Trying | Proceeding => Proceeding) [SendResponse];
    Success(Trying | Proceeding => Completed) [SendResponse, Start(Timer::J)];
    Failure(Trying | Proceeding => Completed) [SendResponse, Start(Timer::J)];
    Request(Completed => Completed) [SendResponse];
    TransportError(Proceeding => Proceeding) [InformTransport];
    TransportError(Completed => Completed) [InformTransport];
    Expired[J](Completed => Terminated) [];
}
