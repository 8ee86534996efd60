//! What the ambassador does for a command beyond sending it to a node of its class, as the table names it.
//!
//! The table (`config/judgement.toml`, column `handling`) gives these to commands; no code asks for a command's name.

/// How the ambassador treats a command beyond sending it to a node of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Handling {
    /// Sent as it is.
    #[default]
    Forward,
    /// SELECT.
    Select,
    /// AUTH.
    Auth,
    /// HELLO.
    Hello,
    /// RESET.
    Reset,
    /// QUIT.
    Quit,
    /// CLIENT and its subcommands.
    Client(ClientHandling),
    /// READONLY, READWRITE, ASKING: state of a cluster connection.
    Cluster,
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
    /// WAIT, WAITAOF: count from the client's own writes.
    Wait,
    /// XREAD, XREADGROUP: wait only with the BLOCK option.
    BlockOption,
    /// BLPOP and its kin: wait as long as the last argument says, in seconds.
    TimeoutLast,
    /// BLMPOP, BZMPOP: wait as long as the first argument says, in seconds.
    TimeoutFirst,
    /// SCAN and its kin: the cursor says which node the iteration belongs to.
    Cursor,
    /// SORT and its kin: sent in their read-only form when the request can only read.
    ReadForm,
    /// EVAL, `EVAL_RO`: the script's body is in the request.
    Eval,
    /// EVALSHA, `EVALSHA_RO`: the script must be known to the node.
    EvalSha,
    /// SCRIPT LOAD: to every node.
    ScriptLoad,
    /// SCRIPT FLUSH: on every node.
    ScriptFlush,
    /// SCRIPT EXISTS, SCRIPT SHOW: about scripts that the master may have to be told first.
    ScriptKnown,
    /// SCRIPT KILL, FUNCTION KILL: on every node, the answers merged.
    Kill,
    /// `FCALL_RO`: a replica may not know the function yet.
    FunctionRead,
}

/// A subcommand of CLIENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientHandling {
    /// One that the server answers better, because it is an error or a text.
    Other,
    /// ID.
    Id,
    /// GETNAME.
    GetName,
    /// SETNAME.
    SetName,
    /// SETINFO.
    SetInfo,
    /// NO-EVICT, NO-TOUCH: a switch of which the client's own links take no notice.
    Switch,
    /// CAPA: what the client says it can do; nothing of it is asked of it.
    Capa,
    /// REPLY.
    Reply,
    /// TRACKING.
    Tracking,
    /// CACHING.
    Caching,
    /// TRACKINGINFO, GETREDIR.
    TrackingState,
    /// LIST.
    List,
    /// INFO.
    Info,
    /// KILL.
    Kill,
    /// UNBLOCK.
    Unblock,
    /// PAUSE.
    Pause,
    /// UNPAUSE.
    Unpause,
}

/// How a server can be asked whether a user may run a command that the ambassador answers itself. Servers look at a
/// user's rules before they do anything, and of a subcommand's arguments the rules say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// As the client said it: it changes nothing.
    AsItIs,
    /// With a blank for each argument, which is no name, no switch and no mode: an error, or nothing at all.
    WithBlanks,
}

/// The words of the table.
const NAMES: [(&str, Handling); 42] = [
    ("forward", Handling::Forward),
    ("select", Handling::Select),
    ("auth", Handling::Auth),
    ("hello", Handling::Hello),
    ("reset", Handling::Reset),
    ("quit", Handling::Quit),
    ("client", Handling::Client(ClientHandling::Other)),
    ("client-id", Handling::Client(ClientHandling::Id)),
    ("client-getname", Handling::Client(ClientHandling::GetName)),
    ("client-setname", Handling::Client(ClientHandling::SetName)),
    ("client-setinfo", Handling::Client(ClientHandling::SetInfo)),
    ("client-switch", Handling::Client(ClientHandling::Switch)),
    ("client-capa", Handling::Client(ClientHandling::Capa)),
    ("client-reply", Handling::Client(ClientHandling::Reply)),
    ("client-tracking", Handling::Client(ClientHandling::Tracking)),
    ("client-caching", Handling::Client(ClientHandling::Caching)),
    (
        "client-tracking-state",
        Handling::Client(ClientHandling::TrackingState),
    ),
    ("client-list", Handling::Client(ClientHandling::List)),
    ("client-info", Handling::Client(ClientHandling::Info)),
    ("client-kill", Handling::Client(ClientHandling::Kill)),
    ("client-unblock", Handling::Client(ClientHandling::Unblock)),
    ("client-pause", Handling::Client(ClientHandling::Pause)),
    ("client-unpause", Handling::Client(ClientHandling::Unpause)),
    ("cluster-mode", Handling::Cluster),
    ("multi", Handling::Multi),
    ("exec", Handling::Exec),
    ("discard", Handling::Discard),
    ("watch", Handling::Watch),
    ("unwatch", Handling::Unwatch),
    ("wait", Handling::Wait),
    ("block-option", Handling::BlockOption),
    ("timeout-last", Handling::TimeoutLast),
    ("timeout-first", Handling::TimeoutFirst),
    ("cursor", Handling::Cursor),
    ("read-form", Handling::ReadForm),
    ("eval", Handling::Eval),
    ("evalsha", Handling::EvalSha),
    ("script-load", Handling::ScriptLoad),
    ("script-flush", Handling::ScriptFlush),
    ("script-known", Handling::ScriptKnown),
    ("kill-on-every-node", Handling::Kill),
    ("function-read", Handling::FunctionRead),
];

impl Handling {
    /// Whether a request must never reach a server as it is: it would act on connections that clients share.
    pub fn stays_here(self) -> bool {
        matches!(
            self,
            Handling::Client(ClientHandling::Kill | ClientHandling::Unblock)
        )
    }

    /// How a server is asked for its permission, where the answer is the ambassador's own; `None`: what is answered here
    /// is permitted to everybody (AUTH, HELLO, RESET, QUIT), or a server sees the request in any case.
    pub fn asking(self) -> Option<Asking> {
        let Handling::Client(of_client) = self else {
            return None;
        };
        match of_client {
            ClientHandling::Id | ClientHandling::GetName | ClientHandling::Info => Some(Asking::AsItIs),
            ClientHandling::SetName
            | ClientHandling::SetInfo
            | ClientHandling::Switch
            | ClientHandling::Reply => Some(Asking::WithBlanks),
            _ => None,
        }
    }

    /// Whether a request that is too large to be looked at may simply be sent to the master: what the handling adds
    /// is then only missing.
    pub fn may_be_forwarded(self) -> bool {
        matches!(
            self,
            Handling::Forward
                | Handling::ReadForm
                | Handling::Eval
                | Handling::EvalSha
                | Handling::FunctionRead
        )
    }

    /// The word used in the table and in `explain`.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, handling)| *handling == self)
            .map_or("forward", |(name, _)| name)
    }

    /// The handling of that name.
    pub fn from_name(name: &str) -> Option<Handling> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, handling)| *handling)
    }
}
