//! `offload`: a blocking call on another thread, awaited.

use super::{Case, Run, has_step, measure_step};
use crate::process::{self, SERVER_CORE};

/// So many greenlets or tasks, on one hub or runtime, each offload an empty closure, wait for it, and do so again; the time is divided by
/// all calls. `tokio` is `spawn_blocking(..).await` on the current-thread runtime, `tokio-mt` on two workers, its tasks running on
/// those; `std` a thread spawned and joined each time, which is what a pool saves. Pools grow as they come: a hundred calls before the clock
/// starts have made the threads. All threads use both cores as the kernel likes: whether it wakes the pool's thread beside the caller or
/// on the other core decides more than any code, so see the rounds' minimum and maximum in `--json`. With `+one` all share one core, where
/// a call is two switches of the kernel and what the runtime adds to them.
pub(super) const CASE: Case = Case {
    name: "offload",
    about: "an empty closure run on a pool's thread and waited for, by so many tasks in turn; +one: all threads on one core",
    params: &["1", "50", "1+one", "50+one"],
    quick: &["1", "50+one"],
    units: &["ns"],
    seconds: 0.5,
    has: |column, param| has_step(column, "offload", at_once(param)),
    run: Run::Both(|column, param, seconds| {
        if param.ends_with(ON_ONE_CORE) {
            process::pin(SERVER_CORE);
        }
        measure_step(column, "offload", at_once(param), seconds)
    }),
};

/// At the end of a parameter.
const ON_ONE_CORE: &str = "+one";

fn at_once(param: &str) -> &str {
    param.strip_suffix(ON_ONE_CORE).unwrap_or(param)
}
