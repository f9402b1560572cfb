;; Computes for one second by the clock, which is asked after every million of steps.
(module
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "null")
  ;; Nanoseconds of the monotonic clock, by way of address 8.
  (func $now (result i64)
    (if (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 8)) (then unreachable))
    (i64.load (i32.const 8)))
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "handler") (param i32 i32) (result i64)
    (local $until i64)
    (local $steps i32)
    (local.set $until (i64.add (call $now) (i64.const 1000000000)))
    (loop $again
      (local.set $steps (i32.const 1000000))
      (loop $step
        (br_if $step (local.tee $steps (i32.sub (local.get $steps) (i32.const 1)))))
      (br_if $again (i64.lt_u (call $now) (local.get $until))))
    (i64.const 4)))
