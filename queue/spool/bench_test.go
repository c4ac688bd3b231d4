package spool

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkDrain measures how many records per second move from a full spool into the embedded
// store.
func BenchmarkDrain(b *testing.B) {
	for _, oneByOne := range []bool{false, true} {
		for _, keys := range []int{1, 10} {
			b.Run(fmt.Sprintf("oneByOne=%v/keys=%d", oneByOne, keys), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					const records = 4000
					p := openPair(b, b.TempDir(), setup{oneByOne: oneByOne})
					p.paused.Store(true)
					done := make(chan error)
					for k := range 64 {
						go func() {
							var err error
							for n := k; n < records && err == nil; n += 64 {
								_, err = p.Append(b.Context(), newRequest(fmt.Sprint(n%keys), n))
							}
							done <- err
						}()
					}
					for range 64 {
						if err := <-done; err != nil {
							b.Fatal(err)
						}
					}
					b.StartTimer()
					began := time.Now()
					p.paused.Store(false)
					for !p.isDirect() {
						time.Sleep(time.Millisecond)
					}
					b.ReportMetric(records/time.Since(began).Seconds(), "records/s")
					b.StopTimer()
					if err := p.close(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
	}
}
