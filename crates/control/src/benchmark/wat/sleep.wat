;; Waits for a minute: one subscription to the monotonic clock.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "null")
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  ;; 64: the subscription (48 bytes; tag 0 at 72 is the clock, its id at 80, nanoseconds at 88); 128: the event; 192: a count.
  (func (export "handler") (param i32 i32) (result i64)
    (i32.store (i32.const 80) (i32.const 1))
    (i64.store (i32.const 88) (i64.const 60000000000))
    (drop (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 192)))
    (i64.const 4)))
