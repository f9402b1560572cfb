;; Prints 10 MB in lines of 100 bytes, a hundred lines at a time.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "null")
  (func (export "alloc") (param i32) (result i32) (i32.const 1024))
  ;; 8: the address and the length of what is written; 16: how much of it was; the lines are the second page.
  (func (export "handler") (param i32 i32) (result i64)
    (local $end i32)
    (local $left i32)
    (memory.fill (i32.const 65536) (i32.const 120) (i32.const 10000))
    (local.set $end (i32.const 65635))
    (loop $line
      (i32.store8 (local.get $end) (i32.const 10))
      (local.set $end (i32.add (local.get $end) (i32.const 100)))
      (br_if $line (i32.lt_u (local.get $end) (i32.const 75536))))
    (local.set $left (i32.const 10000000))
    (loop $more
      (i32.store (i32.const 8) (i32.const 65536))
      (i32.store (i32.const 12)
        (select (local.get $left) (i32.const 10000) (i32.lt_u (local.get $left) (i32.const 10000))))
      (if (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.load (i32.const 16))))))
    (i64.const 4)))
