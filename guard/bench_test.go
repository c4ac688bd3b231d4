package guard

import (
	"testing"
	"time"
)

// BenchmarkGuard measures everything that one webhook costs the guard.
func BenchmarkGuard(b *testing.B) {
	g := New(Config{InFlight: InFlight{Min: 100, Max: 5000, Latency: time.Second},
		BodyMemory: 1 << 20})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !g.Admit() || g.Busy() || !g.bodies.Reserve(4096, false) || !g.Enter() {
				b.Fail()
			}
			g.Accepted(700 * time.Microsecond)
			g.bodies.Release(4096)
			g.Leave()
		}
	})
}

// BenchmarkInFlight measures the limit on webhooks in flight alone.
func BenchmarkInFlight(b *testing.B) {
	g := New(Config{InFlight: InFlight{Min: 100, Max: 5000, Latency: time.Second}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Enter() {
				g.Accepted(700 * time.Microsecond)
				g.Leave()
			}
		}
	})
}
