//! A replication connection: PostgreSQL's protocol with `replication=database`, which the driver does
//! not speak. Commands first, then the log as it streams.
//!
//! The messages are those of the manual's chapters "Message Formats" and "Streaming Replication
//! Protocol", taken apart by the driver's own `postgres-protocol`. A task of its own keeps the connection
//! alive while nobody reads: it answers the server, reports what is durable, and stops reading when its
//! few frames wait to be taken, so that a slow reader holds the server back and never loses it.

use super::lsn::Lsn;
use crate::postgres::config::Settings;
use crate::postgres::error::retry_of;
use bytes::{Buf, Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use levada_flow::FlowError;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{self, Message};
use postgres_protocol::message::frontend;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

/// How many reads of the socket wait to be taken.
const READS_AHEAD: usize = 16;

/// The most bytes that one read hands on.
const READ_BYTES: usize = 256 << 10;

/// How often the server hears what is durable.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How often within [`STATUS_EVERY`] a server asks that wants to shut down: it asks at every answer until
/// everything is durable here, and would wait for that as long as nobody pulls. Less than [`READS_AHEAD`].
const ASKS_MAX: usize = 5;

/// The first byte of the answer to START_REPLICATION: both sides copy from now on.
const COPY_BOTH: u8 = b'W';

/// Any way to the server.
trait Way: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Way for T {}

/// A replication connection that waits for commands.
pub(super) struct ReplicationSession {
    way: Box<dyn Way>,
    input: BytesMut,
    place: String,
}

impl ReplicationSession {
    /// Connects and logs in as every other session of the container does.
    ///
    /// # Errors
    /// Nobody answers, or the server does not let us in.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, FlowError> {
        let driver = settings.driver();
        let limit = driver.get_connect_timeout().copied().unwrap_or(Duration::from_secs(15));
        let place = settings.place().to_owned();
        let opened = tokio::time::timeout(limit, async {
            let way = open(settings).await?;
            let mut session = Self { way, input: BytesMut::new(), place: place.clone() };
            session.log_in(settings).await?;
            Ok(session)
        });
        opened.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())).map_err(
            |error: Failure| match error {
                Failure::Server { code, message } if code == SqlState::INSUFFICIENT_PRIVILEGE.code() => {
                    FlowError::never(format!("the user of {place} may not read the change log"))
                        .because(format!("{message} [{code}]"))
                        .hint("ALTER ROLE … REPLICATION, as a superuser")
                }
                error => error.told(format!("PostgreSQL at {place} can't be reached for its change log")),
            },
        )
    }

    async fn log_in(&mut self, settings: &Settings) -> Result<(), Failure> {
        let driver = settings.driver();
        let user = driver.get_user().unwrap_or_default().to_owned();
        let password = driver.get_password().unwrap_or_default().to_vec();
        let parameters = [
            ("user", user.as_str()),
            ("database", driver.get_dbname().unwrap_or_default()),
            ("replication", "database"),
            ("application_name", "levada"),
            ("client_encoding", "UTF8"),
            // What a busy server must not do to a stream that is only slow.
            ("options", "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0"),
        ];
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out)?;
        self.send(&out).await?;
        let mut scram = None;
        loop {
            out.clear();
            match self.next().await? {
                Message::AuthenticationOk => {}
                Message::AuthenticationCleartextPassword => frontend::password_message(&password, &mut out)?,
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(user.as_bytes(), &password, body.salt());
                    frontend::password_message(hash.as_bytes(), &mut out)?;
                }
                Message::AuthenticationSasl(body) => {
                    if !body.mechanisms().any(|name| Ok(name == SCRAM_SHA_256))? {
                        return Err(io::Error::other("the server wants a way of logging in that is unknown").into());
                    }
                    let exchange = ScramSha256::new(&password, ChannelBinding::unsupported());
                    frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut out)?;
                    scram = Some(exchange);
                }
                Message::AuthenticationSaslContinue(body) => {
                    let exchange = scram.as_mut().ok_or_else(unexpected)?;
                    exchange.update(body.data())?;
                    frontend::sasl_response(exchange.message(), &mut out)?;
                }
                Message::AuthenticationSaslFinal(body) => {
                    scram.as_mut().ok_or_else(unexpected)?.finish(body.data())?;
                }
                Message::ReadyForQuery(_) => return Ok(()),
                Message::BackendKeyData(_) => {}
                _ => return Err(unexpected().into()),
            }
            if !out.is_empty() {
                self.send(&out).await?;
            }
        }
    }

    /// Runs a command and gives its rows as text.
    ///
    /// # Errors
    /// The server refuses it, or the connection breaks.
    pub(super) async fn query(&mut self, command: &str) -> Result<Vec<Vec<Option<String>>>, FlowError> {
        let place = self.place.clone();
        let told = |error: Failure| error.told(format!("{} failed at {place}", first_words(command)));
        self.run(command).await.map_err(told)
    }

    async fn run(&mut self, command: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out)?;
        self.send(&out).await?;
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            match self.next().await {
                Ok(Message::DataRow(body)) => {
                    let text = |range: Option<std::ops::Range<usize>>| {
                        Ok(range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned()))
                    };
                    rows.push(body.ranges().map(text).collect()?);
                }
                Ok(Message::ReadyForQuery(_)) => return failure.map_or(Ok(rows), Err),
                Ok(_) => {}
                Err(error @ Failure::Server { .. }) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts to stream: `command` is a START_REPLICATION. What is durable so far is told at once.
    ///
    /// # Errors
    /// The server refuses, or the connection breaks.
    pub(super) async fn start(mut self, command: &str, durable: Lsn) -> Result<LogStream, FlowError> {
        let place = self.place.clone();
        let told = |error: Failure| error.told(format!("the change log of {place} can't be read on"));
        let mut out = BytesMut::new();
        frontend::query(command, &mut out).map_err(|error| told(error.into()))?;
        self.send(&out).await.map_err(told)?;
        self.wait_for_copy().await.map_err(told)?;
        let shared = Arc::new(Shared { durable: AtomicU64::new(durable.0), ping: Notify::new() });
        let (sender, receiver) = mpsc::channel(READS_AHEAD);
        let task = Pump { session: self, shared: Arc::clone(&shared), out: sender };
        Ok(LogStream { receiver, shared, task: tokio::spawn(task.run()) })
    }

    async fn wait_for_copy(&mut self) -> Result<(), Failure> {
        loop {
            if self.input.first() == Some(&COPY_BOTH) && self.input.len() >= 5 {
                let length = 1 + (&self.input[1..5]).get_u32() as usize;
                if self.input.len() >= length {
                    self.input.advance(length);
                    return Ok(());
                }
            } else if !self.input.is_empty() && self.input.first() != Some(&COPY_BOTH) {
                self.next().await?;
                continue;
            }
            self.fill().await?;
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.way.write_all(bytes).await?;
        self.way.flush().await?;
        Ok(())
    }

    /// Reads more; the end of the connection is an error.
    async fn fill(&mut self) -> Result<(), Failure> {
        self.input.reserve(16 << 10);
        match self.way.read_buf(&mut self.input).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }

    /// The next message that matters.
    async fn next(&mut self) -> Result<Message, Failure> {
        loop {
            match Message::parse(&mut self.input)? {
                None => self.fill().await?,
                Some(Message::ErrorResponse(body)) => return Err(Failure::of(&body)?),
                Some(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                Some(message) => return Ok(message),
            }
        }
    }
}

fn first_words(command: &str) -> String {
    command.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn unexpected() -> io::Error {
    io::Error::other("the server sent a message that does not belong here")
}

/// Opens a way to the server, encrypted as the container says.
async fn open(settings: &Settings) -> Result<Box<dyn Way>, Failure> {
    let driver = settings.driver();
    let port = driver.get_ports().first().copied().unwrap_or(5432);
    let host = match driver.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(folder)) => {
            return Ok(Box::new(UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?));
        }
        None => return Err(io::Error::other("the container names no host").into()),
    };
    let mut tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let mode = driver.get_ssl_mode();
    let Some(mut tls) = settings.tls().filter(|_| mode != SslMode::Disable) else { return Ok(Box::new(tcp)) };
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    tcp.write_all(&out).await?;
    if tcp.read_u8().await? != b'S' {
        return match mode {
            SslMode::Prefer => Ok(Box::new(tcp)),
            _ => Err(io::Error::other("server does not support TLS").into()),
        };
    }
    let connect = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, &host).map_err(io::Error::other)?;
    Ok(Box::new(connect.connect(tcp).await.map_err(io::Error::other)?))
}

/// What goes wrong on a replication connection.
#[derive(Debug)]
enum Failure {
    Broken(io::Error),
    Server { code: String, message: String },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Failure {
    fn of(body: &backend::ErrorResponseBody) -> io::Result<Self> {
        let (mut code, mut message) = (String::new(), String::new());
        let mut fields = body.fields();
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes());
            match field.type_() {
                b'C' => code = value.into_owned(),
                b'M' => message.insert_str(0, &value),
                b'D' | b'H' => message.push_str(&format!(" ({})", value.replace('\n', "; "))),
                _ => {}
            }
        }
        Ok(Self::Server { code, message })
    }

    fn told(self, what: String) -> FlowError {
        match self {
            Self::Broken(error) => FlowError::later(what).because(error),
            Self::Server { code, message } => {
                let retry = retry_of(&SqlState::from_code(&code));
                FlowError { retry, ..FlowError::later(what) }.because(format!("{message} [{code}]"))
            }
        }
    }
}

/// What the server sends while it streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// A message of the output plugin.
    Data(Bytes),
    /// The server has sent everything up to here.
    Alive(Lsn),
}

/// What reader and task share.
struct Shared {
    durable: AtomicU64,
    ping: Notify,
}

/// The log, as it streams.
pub(super) struct LogStream {
    receiver: mpsc::Receiver<Result<Vec<Frame>, FlowError>>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl LogStream {
    /// The next frames, in their order.
    ///
    /// # Errors
    /// The server ended the stream, or the connection broke.
    pub(super) async fn next(&mut self) -> Result<Vec<Frame>, FlowError> {
        let broken_off = || Err(FlowError::later("the change log broke off"));
        self.receiver.recv().await.unwrap_or_else(broken_off)
    }

    /// Says up to where everything is durable; the server hears of it within a second.
    pub(super) fn acknowledge(&self, durable: Lsn) {
        self.shared.durable.fetch_max(durable.0, Ordering::Release);
    }

    /// Asks the server how far it is; a [`Frame::Alive`] follows.
    pub(super) fn ping(&self) {
        self.shared.ping.notify_one();
    }
}

impl Drop for LogStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task that moves frames and status.
struct Pump {
    session: ReplicationSession,
    shared: Arc<Shared>,
    out: mpsc::Sender<Result<Vec<Frame>, FlowError>>,
}

impl Pump {
    async fn run(mut self) {
        let place = self.session.place.clone();
        if let Err(error) = self.pump().await {
            let error = error.told(format!("the change log of {place} broke off"));
            // Nobody may be reading any more; then nobody needs the error either.
            let _ = self.out.send(Err(error)).await;
        }
    }

    async fn pump(&mut self) -> Result<(), Failure> {
        let mut status = tokio::time::interval(STATUS_EVERY);
        status.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asks = 0;
        loop {
            let (frames, wants_reply) = self.parse()?;
            if wants_reply {
                report(&mut self.session, &self.shared, false).await?;
                asks += 1;
            }
            if asks > ASKS_MAX {
                return Err(io::Error::other("the server shuts down").into());
            }
            if frames.is_empty() {
                tokio::select! {
                    filled = self.session.fill() => filled?,
                    _ = status.tick() => {
                        asks = 0;
                        report(&mut self.session, &self.shared, false).await?;
                    }
                    () = self.shared.ping.notified() => report(&mut self.session, &self.shared, true).await?,
                }
                continue;
            }
            let room = loop {
                let room = tokio::select! {
                    room = self.out.reserve() => Some(room),
                    _ = status.tick() => None,
                };
                match room {
                    Some(Ok(room)) => break room,
                    // Nobody reads any more.
                    Some(Err(_)) => return Ok(()),
                    None => report(&mut self.session, &self.shared, false).await?,
                }
            };
            room.send(Ok(frames));
        }
    }

    /// Takes apart what is there; tells whether the server wants to hear from us.
    fn parse(&mut self) -> Result<(Vec<Frame>, bool), Failure> {
        let (mut frames, mut bytes, mut wants_reply) = (Vec::new(), 0, false);
        while bytes < READ_BYTES {
            match Message::parse(&mut self.session.input)? {
                None => break,
                Some(Message::CopyData(body)) => {
                    let data = body.into_bytes();
                    bytes += data.len();
                    let (frame, wants) = frame(data)?;
                    wants_reply |= wants;
                    frames.push(frame);
                }
                Some(Message::ErrorResponse(body)) => return Err(Failure::of(&body)?),
                Some(Message::CopyDone | Message::CommandComplete(_) | Message::ReadyForQuery(_)) => {
                    return Err(io::Error::other("the server has ended the stream").into());
                }
                Some(_) => {}
            }
        }
        Ok((frames, wants_reply))
    }
}

/// A standby status update: received, flushed and applied are what is durable.
async fn report(session: &mut ReplicationSession, shared: &Shared, wants_reply: bool) -> Result<(), Failure> {
    let durable = shared.durable.load(Ordering::Acquire);
    let mut body = [0_u8; 34];
    body[0] = b'r';
    for place in 0..3 {
        body[1 + 8 * place..9 + 8 * place].copy_from_slice(&durable.to_be_bytes());
    }
    body[33] = u8::from(wants_reply);
    let mut out = BytesMut::new();
    frontend::CopyData::new(&body[..])?.write(&mut out);
    session.send(&out).await
}

/// Takes one message of the streaming protocol apart.
fn frame(mut data: Bytes) -> io::Result<(Frame, bool)> {
    let cut = || io::Error::other("a message of the change log is cut off");
    match data.first() {
        // Its place, the server's end of the log, and its clock go before the plugin's message.
        Some(b'w') if data.len() >= 25 => {
            data.advance(25);
            Ok((Frame::Data(data), false))
        }
        Some(b'k') if data.len() >= 18 => {
            data.advance(1);
            let end = Lsn(data.get_u64());
            data.advance(8);
            Ok((Frame::Alive(end), data.get_u8() == 1))
        }
        _ => Err(cut()),
    }
}
