package admit

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
)

// ErrUnavailable is wrapped by errors that say that a request cannot be judged now, through no fault of the sender. The
// HTTP edge answers 503.
var ErrUnavailable = errors.New("cannot be verified now")

// Amazon is what a scheme needs of the outside, which this package does not reach: whoever implements it must take the URLs, which were checked
// to be Amazon's, and no redirection from them. Its methods are called concurrently, and their errors are ErrUnavailable to the sender.
type Amazon interface {
	// Certificate returns the certificate at a URL, which is valid now.
	Certificate(url string) (*x509.Certificate, error)
	// Confirm calls the URL of a subscription.
	Confirm(url string) error
}

// sns is the proof of Amazon SNS (docs.aws.amazon.com/sns, "Verifying the signatures of Amazon SNS messages"): an RSA signature in the
// body, with a certificate that the body names. Its topic must be one of those configured, because everybody with an account can have
// a topic that is signed as well as one's own.
type sns struct {
	topics []string
	amazon Amazon
}

func newSNS(o Options) (proof, error) {
	switch {
	case len(o.Topics) == 0:
		return nil, errors.New("topics is missing: list the ARNs of the topics that may send; anybody else's are signed just as well")
	case o.Amazon == nil:
		return nil, errors.New("there is nothing that finds certificates")
	}
	return sns{o.Topics, o.Amazon}, nil
}

const topicHeader = "X-Amz-Sns-Topic-Arn"

func (s sns) checkHeader(r *Request) error {
	topic, err := soleHeader(r, topicHeader)
	if err != nil {
		return err
	}
	if !slices.Contains(s.topics, topic) {
		return unauthenticated(topicHeader, "is none of the configured topics")
	}
	return nil
}

// What of a message matters, in the order in which it is signed, and then what is not signed.
const (
	snsMessage = iota
	snsMessageID
	snsSubject
	snsSubscribeURL
	snsTimestamp
	snsToken
	snsTopicArn
	snsType
	snsVersion
	snsSignature
	snsCertURL
	numSNS
)

var snsPaths = []path{{"Message"}, {"MessageId"}, {"Subject"}, {"SubscribeURL"}, {"Timestamp"}, {"Token"}, {"TopicArn"}, {"Type"},
	{"SignatureVersion"}, {"Signature"}, {"SigningCertURL"}}

// snsFields returns the members of a message; those that are not there, or null, are false in has.
func snsFields(body []byte) (fields [numSNS]string, has [numSNS]bool, err error) {
	var f finder
	f.lookFor(snsPaths, 1)
	if err := scan(body, false, &f); err != nil {
		return fields, has, fmt.Errorf("%w: the message cannot be read: %w", ErrUnauthenticated, err)
	}
	if f.twice != noPath {
		return fields, has, unauthenticated(snsPaths[f.twice][0], "occurs more than once")
	}
	for i, p := range snsPaths {
		raw := f.raw(i, body)
		if isNone(raw) {
			continue
		}
		if raw[0] != '"' {
			return fields, has, unauthenticated(p[0], "is not a string")
		}
		text, reason := unescape(nil, raw[1:len(raw)-1], len(body))
		if reason != "" {
			return fields, has, unauthenticated(p[0], reason)
		}
		fields[i], has[i] = string(text), true
	}
	return fields, has, nil
}

func (s sns) authenticate(r *Request) error {
	fields, has, err := snsFields(r.Body)
	if err != nil {
		return err
	}
	if !slices.Contains(s.topics, fields[snsTopicArn]) {
		return unauthenticated("TopicArn", "is none of the configured topics")
	}
	if err := checkAmazonURL(fields[snsCertURL], certificatePath); err != nil {
		return unauthenticated("SigningCertURL", err.Error())
	}
	signature, err := base64.StdEncoding.DecodeString(fields[snsSignature])
	if err != nil || len(signature) == 0 {
		return unauthenticated("Signature", "is not base64")
	}
	algorithm, digest, err := snsDigest(fields, has)
	if err != nil {
		return err
	}
	certificate, err := s.amazon.Certificate(fields[snsCertURL])
	if err != nil {
		return fmt.Errorf("%w: certificate of Amazon SNS: %w", ErrUnavailable, err)
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok || rsa.VerifyPKCS1v15(key, algorithm, digest, signature) != nil {
		return unauthenticated("Signature", "is not what Amazon's certificate makes of the message")
	}
	return nil
}

// snsDigest returns the digest of what is signed: a line with the name of each field that the message has, and one with its value.
// Notifications have no part in the fields that confirmations have beside them.
func snsDigest(fields [numSNS]string, has [numSNS]bool) (crypto.Hash, []byte, error) {
	var text []byte
	for i := range snsVersion {
		signed := true
		switch i {
		case snsSubject:
			signed = fields[snsType] == "Notification"
		case snsSubscribeURL, snsToken:
			signed = fields[snsType] != "Notification"
		}
		if !signed || !has[i] {
			continue
		}
		text = append(append(text, snsPaths[i][0]...), '\n')
		text = append(append(text, fields[i]...), '\n')
	}
	switch fields[snsVersion] {
	case "1":
		sum := sha1.Sum(text)
		return crypto.SHA1, sum[:], nil
	case "2":
		sum := sha256.Sum256(text)
		return crypto.SHA256, sum[:], nil
	}
	return 0, nil, unauthenticated("SignatureVersion", "is neither 1 nor 2")
}

var (
	amazonHost      = regexp.MustCompile(`\Asns\.[a-z0-9-]{3,32}\.amazonaws\.com(\.cn)?\z`)
	certificatePath = regexp.MustCompile(`\A/SimpleNotificationService-[0-9a-zA-Z]{1,64}\.pem\z`)
	confirmPath     = regexp.MustCompile(`\A/\z`)
)

// checkAmazonURL refuses what is not exactly a URL of Amazon SNS. The error completes a sentence.
func checkAmazonURL(text string, path *regexp.Regexp) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || !amazonHost.MatchString(u.Host) || !path.MatchString(u.EscapedPath()) ||
		path == certificatePath && u.RawQuery != "" {
		return errors.New("is not of Amazon SNS")
	}
	return nil
}

// snsReply confirms a subscription of one of the configured topics, if that is allowed; else it becomes an event, which says where a person
// can confirm it.
func snsReply(s *source, r *Request) (*Answer, error) {
	if !s.options.Confirm {
		return nil, nil
	}
	fields, _, err := snsFields(r.Body)
	if err != nil || fields[snsType] != "SubscriptionConfirmation" {
		return nil, err
	}
	if err := checkAmazonURL(fields[snsSubscribeURL], confirmPath); err != nil {
		return nil, &MalformedError{"SubscribeURL", err.Error()}
	}
	if err := s.options.Amazon.Confirm(fields[snsSubscribeURL]); err != nil {
		return nil, fmt.Errorf("%w: subscription of Amazon SNS: %w", ErrUnavailable, err)
	}
	return &Answer{Status: http.StatusOK}, nil
}
