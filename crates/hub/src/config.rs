//! The settings of the process: the one place where they are named, bounded, read and kept.
//!
//! A hub copies what it needs when it is made, so nothing here is on a hot path.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use greenlet_core::{DEFAULT_STACK_SIZE, MIN_STACK_SIZE};

use crate::patching::Inside;

/// The settings of the process: how many hubs and threads, how large stacks, how often to look, how long to poll.
///
/// | setting | variable | unless it is set | allowed |
/// |---|---|---|---|
/// | [`hubs`](Config::hubs) | `GREENLET_HUBS` | as many as [`available_parallelism`](std::thread::available_parallelism) says | 1 to 1024 |
/// | [`stack_size`](Config::stack_size) | `GREENLET_STACK_SIZE` | 244 KiB | 32 KiB to 1 GiB, in bytes; in the variable also as `256K` (KiB) or `1M` (MiB) |
/// | [`blocking_threads`](Config::blocking_threads) | `GREENLET_BLOCKING_THREADS` | 64 | 1 to 10000 |
/// | [`dns_threads`](Config::dns_threads) | `GREENLET_DNS_THREADS` | 16 | 1 to 1024 |
/// | [`tick`](Config::tick) | `GREENLET_TICK` | 61 | 1 to 1000000 |
/// | [`spin`](Config::spin) | `GREENLET_SPIN_US` | 0 | at most a second; in the variable 0 to 1000000, in microseconds |
///
/// A program [installs](Config::install) its settings before it uses anything else of this library. Where none were installed, the
/// environment's are taken at the first use (a spawn, a wait, any thread's), and kept.
///
/// **What was installed wins**: the environment is not looked at then. A program that wants to give its users the last word begins with
/// [`Config::from_env`], which has the defaults for what is not set; one that wants the last word itself changes what comes out of that.
///
/// **A bad value is an error**, and so is an empty one. It names the variable, the value and what is allowed. `from_env` returns it; where nobody
/// has called that, the first use panics with it.
///
/// # Examples
///
/// ```
/// use greenlet_hub::Config;
/// use std::time::Duration;
///
/// // The environment's, but the tick.
/// Config::from_env()?.tick(20).install()?;
///
/// greenlet_hub::spawn(|| assert_eq!(Config::current().get_tick(), 20)).join().unwrap();
/// assert!(Config::new().spin(Duration::from_micros(50)).install().is_err(), "it is too late");
/// # Ok::<(), greenlet_hub::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing until they are installed"]
pub struct Config {
    hubs: Option<usize>,
    stack_size: usize,
    blocking_threads: usize,
    dns_threads: usize,
    tick: u32,
    spin: Duration,
}

impl Config {
    /// The defaults. Does not look at the environment.
    pub fn new() -> Config {
        Config {
            hubs: None,
            stack_size: DEFAULT_STACK_SIZE,
            blocking_threads: 64,
            dns_threads: 16,
            tick: 61,
            spin: Duration::ZERO,
        }
    }

    /// The defaults, and what the environment's `GREENLET_…` variables set.
    ///
    /// # Errors
    ///
    /// The first variable with a value that is not allowed, in the order of the table above.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use greenlet_hub::Config;
    ///
    /// fn main() {
    ///     if let Err(err) = Config::from_env().and_then(Config::install) {
    ///         eprintln!("{err}"); // GREENLET_HUBS is "many", but must be a whole number from 1 to 1024
    ///         std::process::exit(2);
    ///     }
    /// }
    /// ```
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::read(|variable| std::env::var_os(variable))
    }

    fn read(value_of: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        let read = |setting: &Setting| match value_of(setting.variable) {
            Some(value) => setting.parse(&value).map(Some),
            None => Ok(None),
        };
        let mut config = Config::new();
        if let Some(hubs) = read(&HUBS)? {
            config.hubs = Some(hubs as usize);
        }
        if let Some(bytes) = read(&STACK_SIZE)? {
            config.stack_size = bytes as usize;
        }
        if let Some(threads) = read(&BLOCKING_THREADS)? {
            config.blocking_threads = threads as usize;
        }
        if let Some(threads) = read(&DNS_THREADS)? {
            config.dns_threads = threads as usize;
        }
        if let Some(runs) = read(&TICK)? {
            config.tick = runs as u32;
        }
        if let Some(micros) = read(&SPIN)? {
            config.spin = Duration::from_micros(micros);
        }
        Ok(config)
    }

    /// Sets how many hubs the [global pool](crate::HubPool::global) has, and others for which nothing else is said.
    pub fn hubs(mut self, hubs: usize) -> Config {
        self.hubs = Some(hubs);
        self
    }

    /// Sets the size in bytes of the stacks of greenlets whose [`Builder`](crate::Builder::stack_size) says nothing else.
    ///
    /// It is address space: only what is touched takes memory. It is rounded up as there.
    pub fn stack_size(mut self, bytes: usize) -> Config {
        self.stack_size = bytes;
        self
    }

    /// Sets how many threads at the most run what is offloaded. They are started as they are needed.
    pub fn blocking_threads(mut self, threads: usize) -> Config {
        self.blocking_threads = threads;
        self
    }

    /// Sets how many threads at the most look up names. They are started as they are needed.
    pub fn dns_threads(mut self, threads: usize) -> Config {
        self.dns_threads = threads;
        self
    }

    /// Sets how many greenlets of the run queue run between two looks at descriptors, timers and other threads. (A hub that has nothing
    /// to run looks at once.)
    ///
    /// Fewer: a busy hub is quicker to notice what has come from outside, and spends more of its time on looking, which takes a system call of
    /// half a microsecond as long as anybody waits for a descriptor. More: the other way round. With 61, greenlets that run for 80 µs each keep the outside waiting
    /// for 5 ms. The order in which greenlets run that have nothing to do with the outside stays the same.
    pub fn tick(mut self, runs: u32) -> Config {
        self.tick = runs;
        self
    }

    /// Sets how long a hub that has nothing to run polls descriptors and other threads before it sleeps.
    ///
    /// Being woken takes a thread 20 to 50 µs, and who polls does without. In return it **uses a core while it polls**, up to that long for each sleep:
    /// a hub that is woken more often than that never sleeps, and takes a whole core even if there is little to do. A hub that is idle
    /// polls once and sleeps then, without end. Between two polls it gives way to other threads that wait for its core; where all cores
    /// are taken it may come back late, also for its timers.
    ///
    /// For programs where a round trip matters and cores are to spare. Where none is, a single microsecond does something else: the hub gives way
    /// once and looks again before it sleeps, so it is woken less often and finds more at a time. That server then takes less time for a message, and
    /// serves more of them, but its slowest answers come later, by as long as the others may keep the core (some milliseconds).
    /// Where the machine has one core only, no hub polls.
    pub fn spin(mut self, time: Duration) -> Config {
        self.spin = time;
        self
    }

    /// How many hubs the [global pool](crate::HubPool::global) has.
    pub fn get_hubs(&self) -> usize {
        self.hubs.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            cores.min(HUBS.most as usize)
        })
    }

    /// The size in bytes of the stacks of greenlets whose [`Builder`](crate::Builder::stack_size) says nothing else.
    pub fn get_stack_size(&self) -> usize {
        self.stack_size
    }

    /// How many threads at the most run what is offloaded.
    pub fn get_blocking_threads(&self) -> usize {
        self.blocking_threads
    }

    /// How many threads at the most look up names.
    pub fn get_dns_threads(&self) -> usize {
        self.dns_threads
    }

    /// How many greenlets of the run queue run between two looks.
    pub fn get_tick(&self) -> u32 {
        self.tick
    }

    /// How long a hub that has nothing to run polls before it sleeps.
    pub fn get_spin(&self) -> Duration {
        self.spin
    }

    /// Makes these the settings of the process, from now on and for good.
    ///
    /// # Errors
    ///
    /// [`BadValue`](ConfigError::BadValue) if one of them is not allowed; [`InUse`](ConfigError::InUse) if something has used the settings already:
    /// others were installed, or a thread has used this library. Nothing has changed then.
    pub fn install(self) -> Result<(), ConfigError> {
        self.check()?;
        let mut settings = settings();
        if settings.is_some() {
            return Err(ConfigError::InUse);
        }
        *settings = Some(self);
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(hubs) = self.hubs {
            HUBS.check(hubs as u64)?;
        }
        STACK_SIZE.check(self.stack_size as u64)?;
        BLOCKING_THREADS.check(self.blocking_threads as u64)?;
        DNS_THREADS.check(self.dns_threads as u64)?;
        TICK.check(self.tick.into())?;
        // Not in whole microseconds: a nanosecond too many is one too many.
        if self.spin > Duration::from_micros(SPIN.most) {
            return Err(SPIN.bad(SPIN.setter, format!("{:?}", self.spin)));
        }
        Ok(())
    }

    /// The settings of the process: those in use, or if nothing has used any yet, those of the environment.
    ///
    /// This alone does not use them: others may still be installed.
    ///
    /// # Panics
    ///
    /// If nothing has used any yet and the environment has a bad value: see [`from_env`](Config::from_env).
    pub fn current() -> Config {
        let in_use = settings().clone();
        in_use.unwrap_or_else(|| Config::from_env().unwrap_or_else(|err| panic!("{err}")))
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that is not allowed.
    #[non_exhaustive]
    BadValue {
        /// The variable of the environment, or the method of [`Config`], that it comes from.
        setting: &'static str,
        /// The value, a variable's in quotes.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Something has used the settings of the process already, so they cannot be installed.
    InUse,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::BadValue { setting, value, allowed } => {
                write!(f, "{setting} is {value}, but must be {allowed}")
            }
            ConfigError::InUse => f.write_str("the settings of the process are in use already, and cannot be changed"),
        }
    }
}

impl Error for ConfigError {}

/// The settings that are in use: for the first that needs them, those of the environment unless some were installed.
///
/// # Panics
///
/// If that has a bad value.
pub(crate) fn get() -> Config {
    // What reads the environment takes a lock of std's.
    let inside = Inside::enter();
    let mut settings = settings();
    if let Some(config) = &*settings {
        return config.clone();
    }
    match Config::from_env() {
        Ok(config) => settings.insert(config).clone(),
        Err(err) => {
            // Not under the lock: the panic hook is a user's code, and may come here.
            drop(settings);
            drop(inside);
            // It has been told, or something else is being told: a destructor's first wait must not end the process.
            if std::thread::panicking() { Config::new() } else { panic!("{err}") }
        }
    }
}

/// The settings, locked, for a fork.
pub(crate) struct Held {
    _settings: MutexGuard<'static, Option<Config>>,
}

/// Keeps everybody away from the settings as long as what it returns lives.
pub(crate) fn hold() -> Held {
    Held { _settings: settings() }
}

fn settings() -> MutexGuard<'static, Option<Config>> {
    static SETTINGS: Mutex<Option<Config>> = Mutex::new(None);
    crate::patching::lock(&SETTINGS)
}

/// What is to be known of one setting.
struct Setting {
    setter: &'static str,
    variable: &'static str,
    least: u64,
    most: u64,
    /// Whether the variable's value may end in K or M.
    in_bytes: bool,
    allowed: &'static str,
}

const HUBS: Setting = Setting {
    setter: "hubs",
    variable: "GREENLET_HUBS",
    least: 1,
    most: 1024,
    in_bytes: false,
    allowed: "a whole number from 1 to 1024",
};

const STACK_SIZE: Setting = Setting {
    setter: "stack_size",
    variable: "GREENLET_STACK_SIZE",
    least: MIN_STACK_SIZE as u64,
    most: 1 << 30,
    in_bytes: true,
    allowed: "a whole number of bytes, KiB or MiB from 32K to 1024M, such as 262144, 256K or 1M",
};

const BLOCKING_THREADS: Setting = Setting {
    setter: "blocking_threads",
    variable: "GREENLET_BLOCKING_THREADS",
    least: 1,
    most: 10_000,
    in_bytes: false,
    allowed: "a whole number from 1 to 10000",
};

const DNS_THREADS: Setting = Setting {
    setter: "dns_threads",
    variable: "GREENLET_DNS_THREADS",
    least: 1,
    most: 1024,
    in_bytes: false,
    allowed: "a whole number from 1 to 1024",
};

const TICK: Setting = Setting {
    setter: "tick",
    variable: "GREENLET_TICK",
    least: 1,
    most: 1_000_000,
    in_bytes: false,
    allowed: "a whole number from 1 to 1000000",
};

const SPIN: Setting = Setting {
    setter: "spin",
    variable: "GREENLET_SPIN_US",
    least: 0,
    most: 1_000_000,
    in_bytes: false,
    allowed: "a whole number of microseconds from 0 to 1000000",
};

impl Setting {
    fn parse(&self, value: &OsStr) -> Result<u64, ConfigError> {
        let number = value.to_str().and_then(|text| if self.in_bytes { parse_bytes(text) } else { parse_number(text) });
        number.filter(|number| self.allows(*number)).ok_or_else(|| self.bad(self.variable, format!("{value:?}")))
    }

    fn check(&self, number: u64) -> Result<(), ConfigError> {
        if self.allows(number) { Ok(()) } else { Err(self.bad(self.setter, number.to_string())) }
    }

    fn allows(&self, number: u64) -> bool {
        (self.least..=self.most).contains(&number)
    }

    fn bad(&self, setting: &'static str, value: String) -> ConfigError {
        ConfigError::BadValue { setting, value, allowed: self.allowed }
    }
}

/// Digits, and nothing else: what a sign or a blank may mean is not guessed.
fn parse_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |number| (number, 1 << 20)),
    };
    parse_number(number)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn read(variable: &str, value: impl Into<OsString>) -> Result<Config, ConfigError> {
        let value = value.into();
        Config::read(|asked| (asked == variable).then(|| value.clone()))
    }

    #[test]
    fn each_variable_sets_its_setting_and_nothing_else() {
        let new = Config::new;
        assert_eq!(read("GREENLET_NOTHING", "1"), Ok(new()));
        assert_eq!(read("GREENLET_HUBS", "3"), Ok(new().hubs(3)));
        assert_eq!(read("GREENLET_STACK_SIZE", "40000"), Ok(new().stack_size(40_000)));
        assert_eq!(read("GREENLET_BLOCKING_THREADS", "5"), Ok(new().blocking_threads(5)));
        assert_eq!(read("GREENLET_DNS_THREADS", "6"), Ok(new().dns_threads(6)));
        assert_eq!(read("GREENLET_TICK", "7"), Ok(new().tick(7)));
        assert_eq!(read("GREENLET_SPIN_US", "50"), Ok(new().spin(Duration::from_micros(50))));
    }

    #[test]
    fn a_size_may_be_in_kib_or_mib() {
        for (text, bytes) in
            [("32768", 32 << 10), ("32K", 32 << 10), ("512k", 512 << 10), ("2M", 2 << 20), ("1024m", 1 << 30)]
        {
            assert_eq!(read("GREENLET_STACK_SIZE", text), Ok(Config::new().stack_size(bytes)), "{text}");
        }
        for text in ["K", "1 M", "1MB", "1KK", "1G", "1.5M", "-1M", "0x10000", "18014398509481984K", "1025M", "31K"] {
            assert!(read("GREENLET_STACK_SIZE", text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_ends_of_each_range_are_allowed_and_the_next_are_not() {
        for setting in [&HUBS, &STACK_SIZE, &BLOCKING_THREADS, &DNS_THREADS, &TICK, &SPIN] {
            let allowed = |number: u64| read(setting.variable, number.to_string()).is_ok();
            assert!(allowed(setting.least) && allowed(setting.most), "{}", setting.variable);
            assert!(!allowed(setting.most + 1), "{}", setting.variable);
            assert!(setting.least == 0 || !allowed(setting.least - 1), "{}", setting.variable);
        }
    }

    #[test]
    fn what_is_no_plain_number_is_refused_with_name_value_and_what_is_allowed() {
        for value in
            ["", " ", "many", "-1", "+1", " 1", "1 ", "1.0", "1e3", "1_000", "99999999999999999999999", "٣", "4K"]
        {
            for setting in [&HUBS, &BLOCKING_THREADS, &DNS_THREADS, &TICK, &SPIN] {
                let err = read(setting.variable, value).unwrap_err();
                let text = format!("{} is {value:?}, but must be {}", setting.variable, setting.allowed);
                assert_eq!(err.to_string(), text);
            }
        }
        let no_unicode = OsString::from_vec(b"1\xff".to_vec());
        let text = "GREENLET_TICK is \"1\\xFF\", but must be a whole number from 1 to 1000000";
        assert_eq!(read("GREENLET_TICK", no_unicode).unwrap_err().to_string(), text);
    }

    #[test]
    fn a_program_s_own_bad_values_are_refused_by_the_name_of_the_method() {
        let refused = |config: Config| config.check().unwrap_err().to_string();
        assert_eq!(refused(Config::new().hubs(0)), "hubs is 0, but must be a whole number from 1 to 1024");
        assert!(refused(Config::new().stack_size(1024)).starts_with("stack_size is 1024, but must be"));
        assert!(refused(Config::new().blocking_threads(0)).starts_with("blocking_threads is 0"));
        assert!(refused(Config::new().dns_threads(usize::MAX)).starts_with("dns_threads is 1"));
        assert!(refused(Config::new().tick(0)).starts_with("tick is 0"));
        let spin = Duration::new(1, 1);
        assert!(refused(Config::new().spin(spin)).starts_with("spin is 1.000000001s, but must be"));
        assert_eq!(Config::new().spin(Duration::from_secs(1)).check(), Ok(()));
    }

    #[test]
    fn the_defaults_are_allowed() {
        assert_eq!(Config::new().check(), Ok(()));
        assert!(HUBS.allows(Config::new().get_hubs() as u64));
    }
}
