/* The C library's locks, as a C library uses them. Built by the tests themselves. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static struct timespec after(clockid_t clock, long ms) {
    struct timespec time;
    clock_gettime(clock, &time);
    time.tv_nsec += ms % 1000 * 1000000;
    time.tv_sec += ms / 1000 + time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

pthread_mutex_t *c_mutex_new(int type) {
    pthread_mutex_t *mutex = malloc(sizeof *mutex);
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, type);
    pthread_mutex_init(mutex, &attr);
    return mutex;
}
int c_mutex_lock(pthread_mutex_t *mutex) { return pthread_mutex_lock(mutex); }
int c_mutex_trylock(pthread_mutex_t *mutex) { return pthread_mutex_trylock(mutex); }
int c_mutex_timedlock(pthread_mutex_t *mutex, long ms) {
    struct timespec time = after(CLOCK_REALTIME, ms);
    return pthread_mutex_timedlock(mutex, &time);
}
int c_mutex_badlock(pthread_mutex_t *mutex) {
    struct timespec time = {1, 1000000000};
    return pthread_mutex_timedlock(mutex, &time);
}
int c_mutex_unlock(pthread_mutex_t *mutex) { return pthread_mutex_unlock(mutex); }

pthread_cond_t *c_cond_new(int monotonic) {
    pthread_cond_t *cond = malloc(sizeof *cond);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    if (monotonic) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    return cond;
}
int c_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex) { return pthread_cond_wait(cond, mutex); }
int c_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, int monotonic, long ms) {
    struct timespec time = after(monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME, ms);
    return pthread_cond_timedwait(cond, mutex, &time);
}
int c_cond_signal(pthread_cond_t *cond) { return pthread_cond_signal(cond); }
int c_cond_broadcast(pthread_cond_t *cond) { return pthread_cond_broadcast(cond); }
int c_cond_destroy(pthread_cond_t *cond) { return pthread_cond_destroy(cond); }

pthread_rwlock_t *c_rwlock_new(void) {
    pthread_rwlock_t *lock = malloc(sizeof *lock);
    pthread_rwlock_init(lock, NULL);
    return lock;
}
int c_rwlock_rdlock(pthread_rwlock_t *lock) { return pthread_rwlock_rdlock(lock); }
int c_rwlock_wrlock(pthread_rwlock_t *lock) { return pthread_rwlock_wrlock(lock); }
int c_rwlock_timedwrlock(pthread_rwlock_t *lock, long ms) {
    struct timespec time = after(CLOCK_REALTIME, ms);
    return pthread_rwlock_timedwrlock(lock, &time);
}
int c_rwlock_unlock(pthread_rwlock_t *lock) { return pthread_rwlock_unlock(lock); }

pthread_once_t *c_once_new(void) {
    pthread_once_t *once = malloc(sizeof *once);
    *once = PTHREAD_ONCE_INIT;
    return once;
}
__attribute__((visibility("default"))) int c_once(pthread_once_t *once, void (*routine)(void)) { return pthread_once(once, routine); }

pthread_barrier_t *c_barrier_new(unsigned count) {
    pthread_barrier_t *barrier = malloc(sizeof *barrier);
    pthread_barrier_init(barrier, NULL, count);
    return barrier;
}
int c_barrier_wait(pthread_barrier_t *barrier) { return pthread_barrier_wait(barrier); }
int c_barrier_destroy(pthread_barrier_t *barrier) { return pthread_barrier_destroy(barrier); }

sem_t *c_sem_new(unsigned count) {
    sem_t *sem = malloc(sizeof *sem);
    sem_init(sem, 0, count);
    return sem;
}
int c_sem_wait(sem_t *sem) { return sem_wait(sem); }
int c_sem_timedwait(sem_t *sem, long ms) {
    struct timespec time = after(CLOCK_REALTIME, ms);
    return sem_timedwait(sem, &time);
}
int c_sem_post(sem_t *sem) { return sem_post(sem); }

static sem_t *posted;
static void post(int signal) { (void)signal; sem_post(posted); }
/* Has a handler of the signal post to the semaphore. */
int c_sem_post_by(sem_t *sem, int signal) {
    struct sigaction action = {.sa_handler = post};
    posted = sem;
    return sigaction(signal, &action, NULL);
}
