//! The `redis-server` process: its settings, its start, and what is said to it over its socket.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::checks::check_version;
use super::error::RedisServerError;
use super::paths::Paths;
use super::{Answer, socket_client};

/// How long one question over the socket may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Refuses a program that is missing or too old.
pub(super) fn check_program(program: &Path) -> Result<(), RedisServerError> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            RedisServerError::NotInstalled { program: program.display().to_string() }
        }
        _ => RedisServerError::Io { path: program.to_owned(), source },
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    check_version(text.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or_default())
}

/// Starts the server. `run` is the locked file that lives and dies with it.
pub(super) fn spawn(
    paths: &Paths,
    program: &Path,
    socket: &Path,
    run: File,
) -> Result<Child, RedisServerError> {
    let config = paths.config();
    fs::write(&config, settings(paths, socket))
        .map_err(|source| RedisServerError::Io { path: config.clone(), source })?;
    let log = paths.open_log()?;
    let errors = log.try_clone().map_err(|source| RedisServerError::Io { path: paths.log(), source })?;
    Command::new(program)
        .arg(&config)
        .current_dir(&paths.dir)
        .stdin(run)
        .stdout(log)
        .stderr(errors)
        // A group of its own: the terminal's Ctrl-C is for us, and the server must outlive our last settle.
        .process_group(0)
        .spawn()
        .map_err(|source| RedisServerError::Io { path: program.to_owned(), source })
}

/// The settings: nothing is acknowledged before it is on disk, nothing is evicted, nobody else gets in.
fn settings(paths: &Paths, socket: &Path) -> String {
    format!(
        "# Written by carteiro before each start; changes are lost.\n\
         port 0\n\
         unixsocket {socket}\n\
         unixsocketperm 700\n\
         dir {dir}\n\
         logfile {log}\n\
         daemonize no\n\
         appendonly yes\n\
         appendfsync always\n\
         aof-use-rdb-preamble yes\n\
         save \"\"\n\
         maxmemory-policy noeviction\n",
        socket = quoted(socket),
        dir = quoted(&paths.dir),
        log = quoted(&paths.log()),
    )
}

/// A path as redis.conf wants it: in quotes, every unusual byte escaped.
fn quoted(path: &Path) -> String {
    let escape = |&byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    let inner: String = path.as_os_str().as_encoded_bytes().iter().map(escape).collect();
    format!("\"{inner}\"")
}

/// A connection for a question or two.
pub(super) async fn connect(socket: &Path) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_TIMEOUT))
        .set_response_timeout(Some(ASK_TIMEOUT));
    socket_client(socket)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Looks whether the server answers.
pub(super) async fn ask(socket: &Path) -> Answer {
    let pinged: RedisResult<()> = async {
        let mut connection = connect(socket).await?;
        redis::cmd("PING").exec_async(&mut connection).await
    }
    .await;
    match pinged {
        Ok(()) => Answer::Ready,
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) => Answer::Loading,
        Err(error) => Answer::Nothing(error.to_string()),
    }
}

/// Refuses a server that does not work in our folder.
pub(super) async fn check_folder(socket: &Path, dir: &Path) -> Result<(), RedisServerError> {
    let asked: RedisResult<Vec<String>> = async {
        let mut connection = connect(socket).await?;
        redis::cmd("CONFIG").arg("GET").arg("dir").query_async(&mut connection).await
    }
    .await;
    let pair = asked.map_err(|source| RedisServerError::Command { command: "CONFIG GET", source })?;
    if is_folder(&pair, dir) {
        return Ok(());
    }
    let found = pair.get(1).cloned().unwrap_or_default();
    Err(RedisServerError::Foreign { socket: socket.to_owned(), found })
}

/// Stops the server if it works in our folder; returns when it has closed its connections.
pub(super) fn shutdown(socket: &Path, dir: &Path, timeout: Duration) -> Result<(), String> {
    let text = |error: RedisError| error.to_string();
    let client = socket_client(socket).map_err(text)?;
    let mut connection = client.get_connection_with_timeout(ASK_TIMEOUT).map_err(text)?;
    connection.set_read_timeout(Some(timeout)).map_err(text)?;
    let pair: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("dir").query(&mut connection).map_err(text)?;
    if !is_folder(&pair, dir) {
        return Err("the server on our socket works in another folder, so it is left alone".to_owned());
    }
    match redis::cmd("SHUTDOWN").exec(&mut connection) {
        // It has no answer to give: the connection ends with it.
        Err(error) if error.is_connection_dropped() => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(()) => Ok(()),
    }
}

fn is_folder(pair: &[String], dir: &Path) -> bool {
    pair.get(1).is_some_and(|found| Path::new(found) == dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_the_settings_file() {
        for (path, expect) in [
            ("/a/b", r#""/a/b""#),
            ("/a b/\"c\"", r#""/a b/\"c\"""#),
            ("/a\\b", r#""/a\\b""#),
            ("/é\n", r#""/\xc3\xa9\x0a""#),
        ] {
            assert_eq!(quoted(Path::new(path)), expect);
        }
    }
}
