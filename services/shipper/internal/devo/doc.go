// Package devo sends rows to Devo as syslog over mutual TLS, and proves that they
// arrived as far as this protocol can prove it.
//
// Devo writes nothing back. What can be known is which bytes the peer's kernel has acknowledged: a
// [conn] counts the ciphertext it writes, records the count after each batch, and takes a batch for
// confirmed when the kernel's count of acknowledged bytes (TCP_INFO, tcpi_bytes_acked, less one for
// the SYN) has passed the record, and the connection has stood for DEVO_SETTLE since. The wait is
// for a peer that breaks down with rows in its kernel that it has not read: the reset follows at
// once, and the rows are resent. A peer that does not read for longer than that and then breaks
// down, and what happens behind it, are beyond this proof; the stronger mode "rotate" ends the
// stream and waits until the peer has read all of it and ended its own.
//
// A connection is finished at the first sign of trouble: a failed write, an end of stream, a reset,
// a TLS alert (with TLS 1.3 a refused certificate shows only so), or no acknowledged byte for a
// while although some are due. Everything unconfirmed is then resent on the next one, from a record
// boundary.
package devo
