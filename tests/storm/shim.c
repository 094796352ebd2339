/* Counts the I/O calls on files below one folder, and does a harm at one of them.

   Preloaded (LD_PRELOAD) into a process that calls storm_arm; until then all passes through.
   A file belongs below the folder by its path when it is opened, then by its descriptor. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault { NOTHING, KILL, TORN, FULL, FULL_ONCE, EIO_ONCE };
enum kind { OPEN = 1, WRITE = 2, RENAME = 4, SYNC = 8, CLOSE = 16, MAKE = 32, REMOVE = 64,
            CUT = 128, READ = 256 };

#define LARGEST 4096 /* descriptor that is watched */
static char names[LARGEST][512];
static char prefix[512];
static size_t prefix_length;
static int journal = -1, fault, kinds;
static long chosen;
static atomic_long calls;
static atomic_int is_full;

#define REAL(name) ((__typeof__(&name))real(&slot_##name, #name))
#define SLOT(name) static void *slot_##name
static void *real(void **slot, const char *name) {
    if (!*slot) *slot = dlsym(RTLD_NEXT, name);
    return *slot;
}

/* Where the calls are to fail, of which kinds, at which one, how; told line by line to a journal. */
void storm_arm(const char *folder, const char *told, int which, long call, int harm) {
    snprintf(prefix, sizeof prefix, "%s", folder);
    kinds = which, chosen = call, fault = harm;
    journal = (int)syscall(SYS_openat, AT_FDCWD, told, O_CREAT | O_WRONLY | O_APPEND, 0644);
    prefix_length = strlen(prefix);
}

static int below(const char *path) {
    return prefix_length && path && !strncmp(path, prefix, prefix_length)
        && (path[prefix_length] == '/' || !path[prefix_length]);
}

static const char *name_of(int fd) {
    return prefix_length && fd >= 0 && fd < LARGEST && names[fd][0] ? names[fd] : NULL;
}

/* The path of a file named from a folder that is open; NULL if it isn't below ours. */
static const char *full(int folder, const char *path, char *place, size_t size) {
    const char *from = name_of(folder);
    if (path && path[0] != '/' && folder != AT_FDCWD && from) {
        snprintf(place, size, "%s/%s", from, path);
        return place;
    }
    return below(path) ? path : NULL;
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static void tell(const char *what, long number, enum kind kind, const char *path) {
    char line[700];
    int length = snprintf(line, sizeof line, "%s %ld %d %s\n", what, number, kind, path);
    syscall(SYS_write, journal, line, (size_t)length);
}

/* Count a call; what is to be done to it. `fills`: one that a full disk may refuse. */
static enum fault due(enum kind kind, int fills, const char *path) {
    if (!path || !(kind & kinds) || (!fills && (fault == FULL || fault == FULL_ONCE))) return NOTHING;
    if (is_full) return FULL;
    long number = ++calls;
    tell("call", number, kind, path);
    if (number != chosen || fault == NOTHING) return NOTHING;
    tell("fault", number, kind, path);
    if (fault == KILL) die();
    if (fault == FULL) is_full = 1;
    return (enum fault)fault;
}

/* -1 with its errno if the call is to fail; for what is no write, TORN kills behind the call. */
#define CHECK(kind, fills, path, call) do { \
        enum fault harm = due(kind, fills, path); \
        if (harm == TORN) { (void)!(call); die(); } \
        if (harm) { errno = harm == EIO_ONCE ? EIO : ENOSPC; return -1; } \
    } while (0)

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < LARGEST) snprintf(names[fd], sizeof names[fd], "%s", path ? path : "");
    return fd;
}

#define OPENED(name, folder, path, flags, ...) do { \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        char place[1200]; const char *known = full(folder, path, place, sizeof place); \
        CHECK(OPEN, flags & O_CREAT, known, REAL(name)(__VA_ARGS__, flags, mode)); \
        return opened(REAL(name)(__VA_ARGS__, flags, mode), known); \
    } while (0)

SLOT(open); SLOT(open64); SLOT(openat); SLOT(openat64);
int open(const char *path, int flags, ...) { OPENED(open, AT_FDCWD, path, flags, path); }
int open64(const char *path, int flags, ...) { OPENED(open64, AT_FDCWD, path, flags, path); }
int openat(int at, const char *path, int flags, ...) { OPENED(openat, at, path, flags, at, path); }
int openat64(int at, const char *path, int flags, ...) {
    OPENED(openat64, at, path, flags, at, path);
}

#define HALF(call) do { (void)!(call); die(); } while (0)

SLOT(write); SLOT(pwrite); SLOT(pwrite64); SLOT(writev);
ssize_t write(int fd, const void *from, size_t size) {
    enum fault harm = due(WRITE, 1, name_of(fd));
    if (harm == TORN) HALF(REAL(write)(fd, from, size / 2));
    if (harm) return errno = harm == EIO_ONCE ? EIO : ENOSPC, -1;
    return REAL(write)(fd, from, size);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t place) {
    enum fault harm = due(WRITE, 1, name_of(fd));
    if (harm == TORN) HALF(REAL(pwrite)(fd, from, size / 2, place));
    if (harm) return errno = harm == EIO_ONCE ? EIO : ENOSPC, -1;
    return REAL(pwrite)(fd, from, size, place);
}
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t place) {
    enum fault harm = due(WRITE, 1, name_of(fd));
    if (harm == TORN) HALF(REAL(pwrite64)(fd, from, size / 2, place));
    if (harm) return errno = harm == EIO_ONCE ? EIO : ENOSPC, -1;
    return REAL(pwrite64)(fd, from, size, place);
}
ssize_t writev(int fd, const struct iovec *from, int count) {
    enum fault harm = due(WRITE, 1, name_of(fd));
    if (harm == TORN) HALF(REAL(write)(fd, from[0].iov_base, from[0].iov_len / 2));
    if (harm) return errno = harm == EIO_ONCE ? EIO : ENOSPC, -1;
    return REAL(writev)(fd, from, count);
}

#define FORWARD(kind, fills, path, call) CHECK(kind, fills, path, call); return call

SLOT(sendfile); SLOT(sendfile64); SLOT(copy_file_range);
ssize_t sendfile(int to, int from, off_t *place, size_t size) {
    FORWARD(WRITE, 1, name_of(to), REAL(sendfile)(to, from, place, size));
}
ssize_t sendfile64(int to, int from, off64_t *place, size_t size) {
    FORWARD(WRITE, 1, name_of(to), REAL(sendfile64)(to, from, place, size));
}
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
    FORWARD(WRITE, 1, name_of(to), REAL(copy_file_range)(from, a, to, b, size, flags));
}

SLOT(read); SLOT(pread); SLOT(pread64); SLOT(readv);
ssize_t read(int fd, void *to, size_t size) {
    FORWARD(READ, 0, name_of(fd), REAL(read)(fd, to, size));
}
ssize_t pread(int fd, void *to, size_t size, off_t place) {
    FORWARD(READ, 0, name_of(fd), REAL(pread)(fd, to, size, place));
}
ssize_t pread64(int fd, void *to, size_t size, off64_t place) {
    FORWARD(READ, 0, name_of(fd), REAL(pread64)(fd, to, size, place));
}
ssize_t readv(int fd, const struct iovec *to, int count) {
    FORWARD(READ, 0, name_of(fd), REAL(readv)(fd, to, count));
}

SLOT(fsync); SLOT(fdatasync);
int fsync(int fd) { FORWARD(SYNC, 1, name_of(fd), REAL(fsync)(fd)); }
int fdatasync(int fd) { FORWARD(SYNC, 1, name_of(fd), REAL(fdatasync)(fd)); }

SLOT(close);
int close(int fd) { /* which closes even where it fails */
    enum fault harm = due(CLOSE, 0, name_of(fd));
    if (fd >= 0 && fd < LARGEST) names[fd][0] = 0;
    int done = REAL(close)(fd);
    if (harm == TORN) die();
    return harm ? (errno = harm == EIO_ONCE ? EIO : ENOSPC, -1) : done;
}

/* A rename is told when it is done: what it has put in place is there from then on. */
static int renamed(int done, const char *to) {
    if (!done && to) tell("named", calls, RENAME, to);
    return done;
}

#define RENAMED(known, call) do { \
        char place[1200]; const char *to = known; \
        CHECK(RENAME, 1, to, renamed(call, to)); \
        return renamed(call, to); \
    } while (0)

SLOT(rename); SLOT(renameat); SLOT(renameat2);
int rename(const char *a, const char *b) {
    RENAMED(full(AT_FDCWD, b, place, sizeof place), REAL(rename)(a, b));
}
int renameat(int at, const char *a, int to_at, const char *b) {
    RENAMED(full(to_at, b, place, sizeof place), REAL(renameat)(at, a, to_at, b));
}
int renameat2(int at, const char *a, int to_at, const char *b, unsigned flags) {
    RENAMED(full(to_at, b, place, sizeof place), REAL(renameat2)(at, a, to_at, b, flags));
}

#define AT(kind, fills, at, call) do { \
        char place[1200]; const char *known = full(at, path, place, sizeof place); \
        FORWARD(kind, fills, known, call); \
    } while (0)

SLOT(mkdir); SLOT(mkdirat); SLOT(unlink); SLOT(unlinkat); SLOT(rmdir);
int mkdir(const char *path, mode_t mode) { AT(MAKE, 1, AT_FDCWD, REAL(mkdir)(path, mode)); }
int mkdirat(int at, const char *path, mode_t mode) { AT(MAKE, 1, at, REAL(mkdirat)(at, path, mode)); }
int unlink(const char *path) { AT(REMOVE, 0, AT_FDCWD, REAL(unlink)(path)); }
int unlinkat(int at, const char *path, int flags) { AT(REMOVE, 0, at, REAL(unlinkat)(at, path, flags)); }
int rmdir(const char *path) { AT(REMOVE, 0, AT_FDCWD, REAL(rmdir)(path)); }

SLOT(ftruncate); SLOT(ftruncate64); SLOT(truncate);
int ftruncate(int fd, off_t size) { FORWARD(CUT, 1, name_of(fd), REAL(ftruncate)(fd, size)); }
int ftruncate64(int fd, off64_t size) { FORWARD(CUT, 1, name_of(fd), REAL(ftruncate64)(fd, size)); }
int truncate(const char *path, off_t size) { AT(CUT, 1, AT_FDCWD, REAL(truncate)(path, size)); }
