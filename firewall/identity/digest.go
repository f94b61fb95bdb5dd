package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"unsafe"
)

// digest names a credential in caches, so that no cache holds it.
type digest [sha256.Size]byte

// digestOf is the SHA-256 digest by which API keys are listed.
func digestOf(credential string) digest { return sha256.Sum256(readOnly(credential)) }

// readOnly returns the bytes of s, which must not be written: converting
// would copy up to 8 KiB per request.
func readOnly(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// digester computes the names that verified credentials have in caches. It is a
// GMAC (NIST SP 800-38D) under a random key of this digester alone, at 40%
// of SHA-256's time for a usual token.
//
// GHASH is almost universal: whoever does not know the key, and no tag ever
// leaves the process, finds two different tokens of at most 8 KiB with one
// tag with a chance of at most 513/2^128 per pair, however they are chosen.
// That is all a cache needs. The nonce is constant because tags are never
// shown; as authenticators for others they would be broken by that.
type digester struct {
	mac     cipher.AEAD // nil: SHA-256, where FIPS 140-3 mode forbids own nonces
	scratch sync.Pool   // of *digest: the interface call would allocate one
}

func newDigester() *digester {
	d := &digester{scratch: sync.Pool{New: func() any { return new(digest) }}}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	if block, err := aes.NewCipher(key[:]); err == nil {
		if mac, err := cipher.NewGCM(block); err == nil {
			d.mac = mac
		}
	}
	return d
}

var zeroNonce [12]byte

func (d *digester) sum(token string) digest { return d.sumBytes(readOnly(token)) }

func (d *digester) sumBytes(text []byte) digest {
	if d.mac == nil {
		return sha256.Sum256(text)
	}
	scratch := d.scratch.Get().(*digest)
	d.mac.Seal(scratch[:0], zeroNonce[:], nil, text)
	sum := *scratch
	d.scratch.Put(scratch)
	return sum
}
