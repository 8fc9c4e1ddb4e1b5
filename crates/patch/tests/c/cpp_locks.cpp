/* The locks of C++'s library, as C++ code uses them. Built by the tests themselves. */
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <thread>

using namespace std::chrono_literals;

namespace {
std::mutex mutex;
std::condition_variable condition;
std::recursive_timed_mutex recursive;
std::shared_mutex shared;
std::once_flag once, failing;
int turn, readers, most, runs, last;
}

extern "C" {
/* The players take turns. */
int cpp_play(int me, int players, int rounds) {
    for (int round = 0; round < rounds; round++) {
        std::unique_lock lock(mutex);
        condition.wait(lock, [&] { return turn % players == me; });
        turn++;
        condition.notify_all();
    }
    return turn;
}

/* Whether waits end at their time. */
int cpp_times_out(void) {
    std::unique_lock lock(mutex);
    auto begin = std::chrono::steady_clock::now();
    bool by_steady = condition.wait_for(lock, 5ms) == std::cv_status::timeout;
    bool by_system = condition.wait_until(lock, std::chrono::system_clock::now() + 5ms) == std::cv_status::timeout;
    return by_steady && by_system && std::chrono::steady_clock::now() - begin >= 9ms;
}

/* Locks twice, over a wait; false if others were in meanwhile, or it could not be had. */
int cpp_recursive(void) {
    static int inside;
    std::unique_lock outer(recursive, 10s);
    std::unique_lock inner(recursive, 10s);
    if (!outer || !inner || inside++ != 0) return 0;
    std::this_thread::sleep_for(1ms);
    return --inside == 0;
}

int cpp_read(void) {
    std::shared_lock lock(shared);
    int now = __atomic_add_fetch(&readers, 1, __ATOMIC_SEQ_CST);
    if (now > most) most = now;
    std::this_thread::sleep_for(1ms);
    __atomic_sub_fetch(&readers, 1, __ATOMIC_SEQ_CST);
    return most;
}

int cpp_write(void) {
    std::unique_lock lock(shared);
    if (readers != 0) return 0;
    std::this_thread::sleep_for(1ms);
    return readers == 0;
}

int cpp_once(void) {
    std::call_once(once, [] { std::this_thread::sleep_for(5ms); runs++; });
    return runs;
}

/* A function's own static: its initialiser waits, and the others wait for it. */
int cpp_static(void) {
    static int value = [] { std::this_thread::sleep_for(20ms); return 7; }();
    return value;
}

/* The first routine throws; returns 1 to whoever that reaches. */
int cpp_fails_once(int me) {
    static bool failed;
    try {
        std::call_once(failing, [&] {
            std::this_thread::sleep_for(5ms);
            if (!failed) {
                failed = true;
                throw std::runtime_error("on purpose");
            }
            last = me;
        });
    } catch (const std::runtime_error &) {
        return 1;
    }
    return 0;
}
}
