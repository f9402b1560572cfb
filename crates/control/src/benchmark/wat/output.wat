;; Prints 10 MB in lines of 100 bytes, a hundred lines at a time.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (local $line i32)
    (local $left i32)
    (memory.fill (i32.const 65536) (i32.const 120) (i32.const 10000))
    (local.set $line (i32.const 65635))
    (loop $end
      (i32.store8 (local.get $line) (i32.const 10))
      (local.set $line (i32.add (local.get $line) (i32.const 100)))
      (br_if $end (i32.lt_u (local.get $line) (i32.const 75536))))
    (local.set $left (i32.const 10000000))
    (loop $more
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (select (local.get $left) (i32.const 10000)
        (i32.lt_u (local.get $left) (i32.const 10000))))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.load (i32.const 8))))))))
