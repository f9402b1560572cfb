// Performs one act as a WASI command: the variable ACT names it, A and B are its arguments, so that argv stays free.
// See `Act` in vulcan-backend for what each promises. Built by build.sh; acts.wasm is checked in.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024u * 1024u)

extern char **environ;

static const char *argument(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static uint64_t number(const char *name) { return strtoull(argument(name), NULL, 10); }

static int stream(void) { return strcmp(argument("B"), "stderr") == 0 ? 2 : 1; }

static void write_all(int file, const void *data, size_t len) {
    const char *at = data;
    while (len > 0) {
        ssize_t count = write(file, at, len);
        if (count < 0) abort();
        at += count;
        len -= count;
    }
}

static void print(const char *text) { write_all(1, text, strlen(text)); }

static void say(uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)value);
    print(text);
}

static void say_bool(bool value) { print(value ? "true\n" : "false\n"); }

// One text as JSON.
static void say_text(const char *text) {
    print("\"");
    for (; *text; text++) {
        char piece[8] = {*text, 0};
        if (*text == '"' || *text == '\\') snprintf(piece, sizeof piece, "\\%c", *text);
        else if ((unsigned char)*text < 32) snprintf(piece, sizeof piece, "\\u%04x", *text);
        print(piece);
    }
    print("\"");
}

static void ready(void) { print("ready\n"); }

static void sleep_for(uint64_t millis) {
    struct timespec time = {millis / 1000, (millis % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static void wait_for_ever(void) {
    for (;;) sleep_for(3600 * 1000);
}

static volatile uint64_t sink;

static void spin(void) {
    for (;;) sink++;
}

static void print_ordered(void) {
    for (uint64_t line = 0; line < number("A"); line++) {
        char text[32];
        int len = snprintf(text, sizeof text, "line %llu\n", (unsigned long long)line);
        write_all(1, text, len);
        write_all(2, text, len);
    }
}

static void flood(void) {
    size_t left = number("A");
    static unsigned char bytes[251 * 256];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = i % 251;
    while (left > 0) {
        size_t count = left < sizeof bytes ? left : sizeof bytes;
        write_all(stream(), bytes, count);
        left -= count;
    }
    _Exit(0);
}

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static void print_raw(void) {
    const char *hex = argument("A");
    for (; hex[0] && hex[1]; hex += 2) {
        unsigned char byte = digit(hex[0]) * 16 + digit(hex[1]);
        write_all(stream(), &byte, 1);
    }
}

static void repeat(char byte, size_t count) {
    char *bytes = malloc(count);
    memset(bytes, byte, count);
    write_all(1, bytes, count);
}

static void endless(const char *text) {
    static char piece[65536];
    size_t len = strlen(text), at = 0;
    for (; at + len <= sizeof piece; at += len) memcpy(piece + at, text, len);
    for (;;) write_all(1, piece, at);
}

static void copy_input(void) {
    char bytes[4096];
    for (ssize_t count; (count = read(0, bytes, sizeof bytes)) > 0;) write_all(1, bytes, count);
}

static void spin_for(void) {
    struct timespec time;
    do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    while (time.tv_sec * 1000 + time.tv_nsec / 1000000 < (int64_t)number("A"));
}

static void allocate_heap(void) {
    uint64_t pieces = number("A") * 16;
    for (uint64_t i = 0; i < pieces; i++) {
        char *piece = malloc(65536);
        if (!piece) abort();
        memset(piece, (int)i, 65536);
        sink += (uintptr_t)piece;
    }
    say(pieces / 16);
}

static void allocate_at_once(void) {
    uint64_t bytes = number("A") * MIB;
    char *memory = bytes > UINT32_MAX ? NULL : malloc(bytes);
    if (!memory) abort();
    for (uint64_t at = 0; at < bytes; at += 4096) memory[at] = 1;
    sink += (uintptr_t)memory;
    say(number("A"));
}

static void fill_folder(void) {
    char path[512];
    snprintf(path, sizeof path, "%s/fill", argument("A"));
    static char piece[65536];
    memset(piece, 'x', sizeof piece);
    uint64_t written = 0, wanted = strtoull(argument("B"), NULL, 10) * MIB;
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    if (file < 0) abort();
    while (written < wanted) {
        ssize_t count = write(file, piece, sizeof piece);
        if (count <= 0) break;
        written += count;
    }
    say(written / MIB);
}

static void count_open_files(void) {
    uint64_t count = 0;
    close(open("file", O_WRONLY | O_CREAT, 0600));
    while (count < 10000000 && open("file", O_RDONLY) >= 0) count++;
    if (errno != EMFILE) abort();
    say(count);
}

static void count_inodes(void) {
    mkdir("many", 0700);
    uint64_t count = 0;
    for (; count < number("A"); count++) {
        char path[64];
        snprintf(path, sizeof path, "many/%llu", (unsigned long long)count);
        int file = open(path, O_WRONLY | O_CREAT, 0600);
        if (file < 0) break;
        close(file);
    }
    say(count);
}

// Folders inside of folders, each made below the descriptor of the one before: no path is as long.
static void deep_folders(void) {
    char name[101];
    memset(name, 'd', 100);
    name[100] = 0;
    uint64_t made = 0;
    int folder = open(".", O_RDONLY | O_DIRECTORY);
    for (; made < number("A"); made++) {
        if (mkdirat(folder, name, 0700) != 0) break;
        int next = openat(folder, name, O_RDONLY | O_DIRECTORY);
        close(folder);
        folder = next;
    }
    say(made);
}

static bool write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) return false;
    bool is_written = write(file, text, strlen(text)) == (ssize_t)strlen(text);
    close(file);
    return is_written;
}

static void read_file(void) {
    char bytes[4096];
    int file = open(argument("A"), O_RDONLY);
    if (file < 0) abort();
    for (ssize_t count; (count = read(file, bytes, sizeof bytes)) > 0;) write_all(1, bytes, count);
}

static const char *const TRACE_FOLDERS[] = {".", "/tmp", "/var/tmp", "/dev/shm", "/run"};

static void traces(bool leave) {
    const char *between = "";
    print("[");
    for (size_t i = 0; i < sizeof TRACE_FOLDERS / sizeof *TRACE_FOLDERS; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", TRACE_FOLDERS[i], argument("A"));
        if (leave ? write_file(path, "trace") : access(path, F_OK) == 0) {
            print(between);
            say_text(TRACE_FOLDERS[i]);
            between = ",";
        }
    }
    print("]\n");
}

static void print_args(int count, char **texts) {
    print("[");
    for (int i = 1; i < count; i++) {
        print(i > 1 ? "," : "");
        say_text(texts[i]);
    }
    print("]\n");
}

static void print_env(void) {
    const char *between = "";
    print("{");
    for (char **entry = environ; *entry; entry++) {
        char *equals = strchr(*entry, '=');
        if (!equals) continue;
        print(between);
        *equals = 0;
        say_text(*entry);
        print(":");
        say_text(equals + 1);
        between = ",";
    }
    print("}\n");
}

// Tries something; what works is a breach.
static char tried[8192], breaches[4096];

static void note(char *list, size_t room, const char *what, const char *path) {
    size_t len = strlen(list);
    snprintf(list + len, room - len, "%s%s %s", len ? "; " : "", what, path);
}

static void attempt(const char *what, const char *path, bool has_worked) {
    note(tried, sizeof tried, what, path);
    if (has_worked) note(breaches, sizeof breaches, what, path);
}

static bool can_read(const char *path) {
    char byte;
    int file = open(path, O_RDONLY);
    if (file < 0) return false;
    bool is_read = read(file, &byte, 1) == 1;
    close(file);
    return is_read;
}

static bool can_list(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return false;
    bool has_entry = false;
    for (struct dirent *entry; (entry = readdir(folder));)
        has_entry |= strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return has_entry;
}

static void report(void) {
    print("{\"contained\":");
    print(breaches[0] ? "false" : "true");
    print(",\"tried\":");
    say_text(tried);
    print(",\"detail\":");
    say_text(breaches[0] ? breaches : "every try was refused");
    print("}\n");
}

static const char *const PREFIXES[] = {
    "", "/work", "/tmp", "/work/..", "/work/../..", "/work/../../../../../../..", "/tmp/../../..", "../../../../../../..", "..",
    "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../../..", "/.", "//", "/mnt", "/host", "./..", "/work/./../..",
};

// The files that lie on the host for it, by every way round.
static void host_files(void) {
    const char *canary = argument("CANARY");
    char path[1024], folder[512];
    for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES; i++) {
        snprintf(path, sizeof path, "%s%s", PREFIXES[i], canary);
        attempt("read", path, can_read(path));
        snprintf(path, sizeof path, "%s/etc/passwd", PREFIXES[i]);
        attempt("read", path, can_read(path));
        snprintf(path, sizeof path, "%s/..", PREFIXES[i]);
        attempt("list", path, can_list(path) && access("/work", F_OK) != 0);
    }
    for (int fd = 3; fd < 6; fd++) {
        char climbing[1024] = "";
        for (int up = 0; up < 12; up++) {
            strcat(climbing, "../");
            snprintf(path, sizeof path, "%s%s", climbing, canary + 1);
            int file = openat(fd, path, O_RDONLY);
            attempt("climb by", path, file >= 0);
        }
    }
    snprintf(folder, sizeof folder, "%s", canary);
    if (strrchr(folder, '/')) *strrchr(folder, '/') = 0;
    attempt("list", folder, can_list(folder));
    const char *targets[] = {canary, "/etc/passwd", "/", "..", "../..", "../../../../../../../../etc/passwd"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        unlink("a-link");
        if (symlink(targets[i], "a-link") != 0) continue;
        attempt("follow a link to", targets[i], can_read("a-link") || can_list("a-link"));
        attempt("write through a link to", targets[i], write_file("a-link", "changed") && access(targets[i], F_OK) == 0);
        snprintf(path, sizeof path, "a-link%s", canary);
        attempt("go on behind a link to", targets[i], can_read(path));
    }
    attempt("link to", canary, link(canary, "hard") == 0);
    attempt("rename", canary, rename(canary, "mine") == 0);
    attempt("remove", canary, unlink(canary) == 0);
    report();
}

static void host_secrets(void) {
    const char *const files[] = {"/etc/shadow", "/etc/machine-id", "/etc/hostname", "/proc/self/environ", "/proc/1/environ",
                                 "/proc/self/maps", "/sys/class/dmi/id/product_uuid", "/dev/kvm", "/dev/mem", "/dev/null"};
    const char *const folders[] = {"/", "/root", "/home", "/var", "/etc", "/proc", "/sys", "/dev", "/run", "/boot", "/usr", "/lib"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) attempt("read", files[i], can_read(files[i]));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) attempt("list", folders[i], can_list(folders[i]));
    report();
}

// Descriptors that a careless host left open: anything but the three streams and the folders that are given.
static void leaked_descriptors(void) {
    for (int fd = 6; fd < 4096; fd++) {
        struct stat stat;
        char text[16];
        if (fstat(fd, &stat) == 0) {
            snprintf(text, sizeof text, "%d", fd);
            attempt("use descriptor", text, true);
        }
    }
    attempt("look at descriptors from", "6 to 4095", false);
    report();
}

// What a neighbour left in its files.
static void neighbour(void) {
    char path[512];
    for (size_t i = 0; i < sizeof TRACE_FOLDERS / sizeof *TRACE_FOLDERS; i++) {
        snprintf(path, sizeof path, "%s/%s", TRACE_FOLDERS[i], argument("NEIGHBOUR_TOKEN"));
        attempt("read", path, can_read(path));
    }
    report();
}

static void offer_to_neighbours(void) {
    char token[33], path[512];
    unsigned char random[16];
    getentropy(random, sizeof random);
    for (int i = 0; i < 16; i++) snprintf(token + 2 * i, 3, "%02x", random[i]);
    for (size_t i = 0; i < sizeof TRACE_FOLDERS / sizeof *TRACE_FOLDERS; i++) {
        snprintf(path, sizeof path, "%s/%s", TRACE_FOLDERS[i], token);
        write_file(path, token);
    }
    printf("{\"NEIGHBOUR_TOKEN\":\"%s\"}\n", token);
    fflush(stdout);
    wait_for_ever();
}

// Files, by the book: says where something is not as it should be.
#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            printf("line %d: %s (errno %d)\n", __LINE__, #condition, errno);          \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

static void check_contents(void) {
    char bytes[64];
    struct stat found;
    int file = open("file", O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0);
    CHECK(open("file", O_RDWR | O_CREAT | O_EXCL, 0600) < 0 && errno == EEXIST);
    CHECK(write(file, "0123456789", 10) == 10);
    CHECK(lseek(file, -4, SEEK_CUR) == 6 && read(file, bytes, 64) == 4 && memcmp(bytes, "6789", 4) == 0);
    CHECK(read(file, bytes, 64) == 0);
    CHECK(pread(file, bytes, 3, 2) == 3 && memcmp(bytes, "234", 3) == 0);
    CHECK(pwrite(file, "ab", 2, 4) == 2 && lseek(file, 0, SEEK_CUR) == 10);
    CHECK(lseek(file, -1, SEEK_SET) < 0 && errno == EINVAL);
    CHECK(ftruncate(file, 5) == 0 && fstat(file, &found) == 0 && found.st_size == 5 && S_ISREG(found.st_mode));
    CHECK(lseek(file, 8, SEEK_SET) == 8 && write(file, "z", 1) == 1);
    CHECK(pread(file, bytes, 64, 0) == 9 && memcmp(bytes, "0123a\0\0\0z", 9) == 0);
    CHECK(close(file) == 0 && close(file) < 0 && errno == EBADF);
    CHECK((file = open("file", O_WRONLY | O_APPEND)) >= 0 && write(file, "+", 1) == 1);
    CHECK(read(file, bytes, 1) < 0 && errno == EBADF);
    CHECK(close(file) == 0 && stat("file", &found) == 0 && found.st_size == 10);
    CHECK((file = open("file", O_RDONLY)) >= 0 && write(file, "x", 1) < 0 && errno == EBADF && close(file) == 0);
    CHECK((file = open("file", O_WRONLY | O_TRUNC)) >= 0 && fstat(file, &found) == 0 && found.st_size == 0);
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    CHECK(futimens(file, times) == 0 && fstat(file, &found) == 0);
    CHECK(found.st_atim.tv_sec == 1000 && found.st_mtim.tv_sec == 2000 && found.st_mtim.tv_nsec == 7);
    CHECK(fsync(file) == 0 && close(file) == 0);
    CHECK(open("missing", O_RDONLY) < 0 && errno == ENOENT);
    CHECK(open("file/below", O_RDONLY) < 0 && errno == ENOTDIR);
    CHECK(open("file", O_RDONLY | O_DIRECTORY) < 0 && errno == ENOTDIR);
}

static void check_names(void) {
    struct stat one, other;
    char target[64];
    CHECK(mkdir("folder", 0700) == 0 && mkdir("folder", 0700) < 0 && errno == EEXIST);
    CHECK(open("folder", O_WRONLY) < 0 && errno == EISDIR);
    CHECK(unlink("folder") < 0 && rmdir("file") < 0 && errno == ENOTDIR);
    CHECK(rename("file", "folder/file") == 0 && access("file", F_OK) < 0 && errno == ENOENT);
    CHECK(rmdir("folder") < 0 && errno == ENOTEMPTY);
    CHECK(rename("folder", "folder/inside") < 0 && errno == EINVAL);
    CHECK(link("folder/file", "second") == 0 && stat("second", &one) == 0 && stat("folder/file", &other) == 0);
    CHECK(one.st_ino == other.st_ino && one.st_nlink == 2);
    CHECK(symlink("folder/file", "link") == 0 && lstat("link", &one) == 0 && S_ISLNK(one.st_mode));
    CHECK(readlink("link", target, sizeof target) == 11 && memcmp(target, "folder/file", 11) == 0);
    CHECK(stat("link", &one) == 0 && one.st_ino == other.st_ino);
    CHECK(unlink("folder/file") == 0 && stat("link", &one) < 0 && errno == ENOENT);
    CHECK(stat("second", &one) == 0 && one.st_nlink == 1);
    int held = open("second", O_RDWR);
    CHECK(held >= 0 && unlink("second") == 0 && write(held, "kept", 4) == 4 && close(held) == 0);
    CHECK(symlink("loop", "loop") == 0 && open("loop", O_RDONLY) < 0 && errno == ELOOP);
    CHECK(unlink("loop") == 0 && unlink("link") == 0 && rmdir("folder") == 0);
    CHECK(stat("/work", &one) == 0 && S_ISDIR(one.st_mode) && stat("/tmp", &one) == 0);
}

// A listing that is longer than any buffer, and that shrinks while it is read.
static void check_listing(void) {
    enum { FILES = 1000 };
    char path[64];
    CHECK(mkdir("many", 0700) == 0);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "many/a-name-that-takes-some-room-%d", i);
        int file = open(path, O_WRONLY | O_CREAT, 0600);
        CHECK(file >= 0 && close(file) == 0);
    }
    DIR *folder = opendir("many");
    int seen = 0, own = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            own++;
            continue;
        }
        seen++;
        snprintf(path, sizeof path, "many/%.50s", entry->d_name);
        CHECK(entry->d_type == DT_REG && unlink(path) == 0);
    }
    CHECK(closedir(folder) == 0 && seen == FILES && own == 2 && rmdir("many") == 0);
}

static void check_files(void) {
    check_contents();
    check_names();
    check_listing();
    print("\"every file did as it should\"\n");
}

static uint64_t deeper(uint64_t depth) {
    volatile char frame[64];
    if (depth == UINT64_MAX) return 0;
    frame[depth % sizeof frame] = 1;
    return deeper(depth + 1) + frame[0];
}

// Whether a fresh memory shows anything of the one that was in its place: all of it, far beyond what the program began with.
static void look_for_a_predecessor(void) {
    uint64_t found = 0;
    size_t before = __builtin_wasm_memory_size(0) * 65536;
    if (__builtin_wasm_memory_grow(0, number("A")) == (size_t)-1) abort();
    size_t end = __builtin_wasm_memory_size(0) * 65536;
    for (size_t at = before; at < end; at++) found += *(volatile unsigned char *)at != 0;
    memset((void *)before, 0xa5, end - before);
    say(found);
}

int main(int count, char **texts) {
    const char *act = argument("ACT");
#define ACT(name) else if (strcmp(act, name) == 0)
    if (!*act) print_env(); // Without a variable of its own in it.
    ACT("exit") _Exit((int)number("A"));
    ACT("print_ordered") print_ordered();
    ACT("flood") flood();
    ACT("print_raw") print_raw();
    ACT("print_nested") { repeat('[', number("A")); repeat(']', number("A")); }
    ACT("endless_lines") { ready(); endless("an endless flood of lines\n"); }
    ACT("endless_line") { ready(); endless("x"); }
    ACT("copy_input") copy_input();
    ACT("sleep") { ready(); wait_for_ever(); }
    ACT("sleep_for") sleep_for(number("A"));
    ACT("spin") { ready(); spin(); }
    ACT("spin_for") spin_for();
    ACT("allocate_heap") allocate_heap();
    ACT("allocate_at_once") allocate_at_once();
    ACT("fill_folder") fill_folder();
    ACT("count_open_files") count_open_files();
    ACT("count_inodes") count_inodes();
    ACT("sparse_file") say_bool(ftruncate(open("sparse", O_WRONLY | O_CREAT, 0600), number("A") * 1024 * MIB) == 0);
    ACT("fallocate") say_bool(posix_fallocate(open("reserved", O_WRONLY | O_CREAT, 0600), 0, number("A") * MIB) == 0);
    ACT("deep_folders") deep_folders();
    ACT("write_file") { if (!write_file(argument("A"), argument("B"))) abort(); }
    ACT("read_file") read_file();
    ACT("leave_traces") traces(true);
    ACT("find_traces") traces(false);
    ACT("print_args") print_args(count, texts);
    ACT("host_files") host_files();
    ACT("host_secrets") host_secrets();
    ACT("leaked_descriptors") leaked_descriptors();
    ACT("neighbour") neighbour();
    ACT("offer_to_neighbours") offer_to_neighbours();
    ACT("files") check_files();
    ACT("recurse") say(deeper(0));
    ACT("abort") abort();
    ACT("look_for_a_predecessor") look_for_a_predecessor();
    else {
        fprintf(stderr, "no act '%s'\n", act);
        return 64;
    }
    return 0;
}
