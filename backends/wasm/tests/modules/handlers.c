// Handlers over linear memory, by the contract of docs/wasm.md: the variable ACT chooses what is returned.
// Built by build.sh; handlers.wasm is checked in.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

__attribute__((import_module("vulcan"), import_name("fail"))) void vulcan_fail(const char *text, size_t len);
__attribute__((import_module("vulcan"), import_name("log"))) void vulcan_log(int stream, const char *text, size_t len);

static uint64_t calls;

static uint64_t result(const char *text, size_t len) { return (uint64_t)(uintptr_t)text << 32 | len; }

static uint64_t number(const char *name) {
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 10) : 0;
}

static uint64_t return_text(size_t len) {
    char *text = malloc(len + 2);
    memset(text, 'x', len + 2);
    text[0] = text[len + 1] = '"';
    return result(text, len + 2);
}

static uint64_t return_digits(size_t digits) {
    char *text = malloc(digits);
    memset(text, '0', digits);
    text[0] = '1';
    return result(text, digits);
}

static uint64_t return_nested(size_t depth) {
    char *text = malloc(2 * depth);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return result(text, 2 * depth);
}

static uint64_t count_calls(void) {
    static char text[24];
    char *at = text + sizeof text;
    uint64_t left = ++calls;
    do *--at = '0' + left % 10;
    while (left /= 10);
    return result(at, text + sizeof text - at);
}

static int is_act(const char *name) {
    const char *act = getenv("ACT");
    return act && strcmp(act, name) == 0;
}

// Runs when the module is loaded.
__attribute__((constructor)) static void load(void) {
    if (is_act("serve")) vulcan_log(1, "loaded\n", 7);
}

static int is_text(const char *input, size_t len, const char *text) {
    return len == strlen(text) + 2 && memcmp(input + 1, text, len - 2) == 0;
}

// Serves calls whose input is a text: writes it as a line, and then does what it says.
static uint64_t serve(char *input, size_t len) {
    vulcan_log(1, input + 1, len - 2);
    vulcan_log(1, "\n", 1);
    if (is_text(input, len, "hang"))
        for (volatile int n = 0;; n++) {}
    if (is_text(input, len, "raise")) {
        vulcan_fail("on purpose", 10);
        return 0;
    }
    return count_calls();
}

__attribute__((export_name("alloc"))) void *alloc(size_t len) { return malloc(len); }

__attribute__((export_name("handler"))) uint64_t handler(char *input, size_t len) {
    if (is_act("serve")) return serve(input, len);
    if (is_act("raise")) {
        const char *words = getenv("A");
        vulcan_fail(words, strlen(words));
        return 0;
    }
    if (is_act("text")) return return_text(number("A"));
    if (is_act("nan")) return result("NaN", 3);
    if (is_act("digits")) return return_digits(number("A"));
    if (is_act("nested")) return return_nested(number("A"));
    if (is_act("surrogate")) return result("\"\\ud800\"", 8);
    if (is_act("count")) {
        // What comes in may ask for a failure.
        if (len == 6 && memcmp(input, "\"trap\"", 6) == 0) __builtin_trap();
        if (len == 6 && memcmp(input, "\"fail\"", 6) == 0) vulcan_fail("on purpose", 10);
        if (len == 6 && memcmp(input, "\"spin\"", 6) == 0) {
            vulcan_log(1, "ready\n", 6);
            for (volatile int n = 0;; n++) {}
        }
        uint64_t answer = count_calls();
        free(input);
        return answer;
    }
    if (is_act("outside")) return UINT64_MAX;
    if (is_act("log")) {
        vulcan_log(1, "to stdout\n", 10);
        vulcan_log(2, "to stderr\n", 10);
    }
    return result(input, len);
}
