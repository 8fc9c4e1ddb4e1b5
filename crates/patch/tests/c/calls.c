// What a C library does with sockets, compiled as distributions compile theirs: with checks of the buffers' sizes.

#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 2

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

// Each waits for one byte, in its own way, and returns it; or a negated error number. `room` is what the compiler does not know to be small enough.
int c_recv(int fd, size_t room)
{
    unsigned char buf[8];
    ssize_t len = recv(fd, buf, room, 0);
    return len < 0 ? -errno : len == 0 ? -1000 : buf[0];
}

int c_recvfrom(int fd, size_t room)
{
    unsigned char buf[8];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    ssize_t len = recvfrom(fd, buf, room, 0, (struct sockaddr *)&from, &from_len);
    return len < 0 ? -errno : len == 0 ? -1000 : buf[0];
}

int c_read(int fd, size_t room)
{
    unsigned char buf[8];
    ssize_t len = read(fd, buf, room);
    return len < 0 ? -errno : len == 0 ? -1000 : buf[0];
}

int c_poll(int fd, size_t count)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = -1}};
    if (poll(fds, count, -1) < 0)
        return -errno;
    return c_recv(fd, count);
}

int c_select(int fd, size_t room)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    if (select(fd + 1, &set, NULL, NULL, NULL) < 0)
        return -errno;
    return c_recv(fd, room);
}

// Holds a lock meanwhile, for which the others wait.
int c_locked(int fd, size_t room)
{
    int err = pthread_mutex_lock(&mutex);
    if (err)
        return -err;
    int byte = c_recv(fd, room);
    pthread_mutex_unlock(&mutex);
    return byte;
}

int c_nanosleep(int milliseconds, size_t room)
{
    (void)room;
    struct timespec time = {.tv_nsec = milliseconds * 1000000L};
    return nanosleep(&time, NULL) < 0 ? -errno : 0;
}

// By a stream of C's, whose reads are the C library's own business; it takes over the descriptor.
int c_stream(int fd, size_t room)
{
    (void)room;
    FILE *stream = fdopen(fd, "r");
    int byte = stream ? fgetc(stream) : -errno;
    if (stream)
        fclose(stream);
    return byte;
}
