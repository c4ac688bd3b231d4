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
	"hash"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// ErrUnavailable is wrapped by errors that say that a request cannot be verified now, although the
// sender is not at fault. The HTTP handler answers 503.
var ErrUnavailable = errors.New("cannot be verified now")

// Amazon makes the HTTP requests that the scheme of Amazon SNS needs. The scheme checks every URL
// first: it belongs to Amazon SNS in the region of a configured topic. An implementation must use
// the URL unchanged and follow no redirect. Its methods are called concurrently. The scheme wraps
// their errors with ErrUnavailable.
type Amazon interface {
	// Certificate returns the certificate at a URL. The implementation has checked that it is valid
	// now, belongs to Amazon SNS of that region, and has a chain to a root of this machine.
	Certificate(url string) (*x509.Certificate, error)
	// Confirm requests the URL of a subscription, which confirms it.
	Confirm(url string) error
}

// sns is the proof of Amazon SNS (docs.aws.amazon.com/sns, "Verifying the signatures of Amazon SNS
// messages"): an RSA signature in the body, with a certificate that the body names. The topic must
// be a configured one, because Amazon signs the messages of every topic of every account.
type sns struct {
	// hosts has the host of Amazon SNS for each configured topic.
	hosts  map[string]string
	amazon Amazon
}

func newSNS(o Options) (proof, error) {
	switch {
	case len(o.Topics) == 0:
		return nil, errors.New("topics is missing: list the ARNs of the topics that may send, because " +
			"Amazon signs the messages of every topic")
	case o.Amazon == nil:
		return nil, errors.New("the option Amazon is missing: nothing can fetch certificates")
	}
	hosts := map[string]string{}
	for _, topic := range o.Topics {
		host, err := snsHost(topic)
		if err != nil {
			return nil, err
		}
		hosts[topic] = host
	}
	return sns{hosts, o.Amazon}, nil
}

// amazonDomains has the domain of each partition of AWS on the Internet.
var amazonDomains = map[string]string{
	"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn",
	"aws-eusc": "amazonaws.eu",
}

// topicARN matches the ARN of a topic and captures partition and region. It must not match a region
// like s3-us-west-2: such a name under amazonaws.com is a bucket, which anybody can have.
var topicARN = regexp.MustCompile(`\Aarn:([a-z-]+):sns:([a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,` +
	`2}):[0-9]+:[A-Za-z0-9_.-]{1,256}\z`)

// snsHost returns the host of the certificates and confirmations of a topic.
func snsHost(topic string) (string, error) {
	m := topicARN.FindStringSubmatch(topic)
	if m == nil || amazonDomains[m[1]] == "" {
		return "", fmt.Errorf("topic %q is not the ARN of a topic; write it like "+
			"arn:aws:sns:us-east-1:123456789012:NAME", topic)
	}
	return "sns." + m[2] + "." + amazonDomains[m[1]], nil
}

const topicHeader = "X-Amz-Sns-Topic-Arn"

func (s sns) checkHeader(r *Request) error {
	topic, err := soleHeader(r, topicHeader)
	if err != nil {
		return err
	}
	if s.hosts[topic] == "" {
		return unauthenticated(topicHeader, "is not a configured topic")
	}
	return nil
}

// The members of a message: first those that are signed, in the order of signing, then the others.
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

var snsPaths = []path{{"Message"}, {"MessageId"}, {"Subject"}, {"SubscribeURL"}, {"Timestamp"},
	{"Token"}, {"TopicArn"}, {"Type"},
	{"SignatureVersion"}, {"Signature"}, {"SigningCertURL"}}

// snsFields are the raw members of a message, without quotation marks; nil if a member is missing
// or null.
type snsFields [numSNS][]byte

// findSNS finds the members in one pass, without copying them.
func findSNS(body []byte) (fields snsFields, err error) {
	var f finder
	f.lookFor(snsPaths, 1)
	if err := scan(body, false, &f); err != nil {
		return fields, fmt.Errorf("%w: the message cannot be read: %w", ErrUnauthenticated, err)
	}
	if f.twice != noPath {
		return fields, unauthenticated(snsPaths[f.twice][0], "occurs more than once")
	}
	for i, p := range snsPaths {
		raw := f.raw(i, body)
		if isNone(raw) {
			continue
		}
		if raw[0] != '"' {
			return fields, unauthenticated(p[0], "is not a string")
		}
		fields[i] = raw[1 : len(raw)-1 : len(raw)-1]
	}
	return fields, nil
}

// maxSNSField limits the members that the proof decodes. All of them are short.
const maxSNSField = 2048

// text decodes a short member.
func (f *snsFields) text(i int) (string, error) {
	text, reason := unescape(nil, f[i], maxSNSField)
	if reason != "" {
		return "", unauthenticated(snsPaths[i][0], reason)
	}
	return string(text), nil
}

func (s sns) authenticate(r *Request) error {
	fields, err := findSNS(r.Body)
	if err != nil {
		return err
	}
	topic, err1 := fields.text(snsTopicArn)
	certificateURL, err2 := fields.text(snsCertURL)
	encoded, err3 := fields.text(snsSignature)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if s.hosts[topic] == "" {
		return unauthenticated("TopicArn", "is not a configured topic")
	}
	if err := checkAmazonURL(certificateURL, s.hosts[topic], certificatePath); err != nil {
		return unauthenticated("SigningCertURL", err.Error())
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(signature) == 0 {
		return unauthenticated("Signature", "is not base64")
	}
	algorithm, digest, err := fields.digest()
	if err != nil {
		return err
	}
	certificate, err := s.amazon.Certificate(certificateURL)
	if err != nil {
		return fmt.Errorf("%w: certificate of Amazon SNS: %w", ErrUnavailable, err)
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok || rsa.VerifyPKCS1v15(key, algorithm, digest, signature) != nil {
		return unauthenticated("Signature", "does not match the message with Amazon's certificate")
	}
	return nil
}

// digest returns the digest of the signed text: for each member a line with its name and one with
// its value. Notifications and confirmations sign different members.
func (f *snsFields) digest() (crypto.Hash, []byte, error) {
	version, err1 := f.text(snsVersion)
	kind, err2 := f.text(snsType)
	if err := errors.Join(err1, err2); err != nil {
		return 0, nil, err
	}
	var algorithm crypto.Hash
	var sum hash.Hash
	switch version {
	case "1":
		algorithm, sum = crypto.SHA1, sha1.New()
	case "2":
		algorithm, sum = crypto.SHA256, sha256.New()
	default:
		return 0, nil, unauthenticated("SignatureVersion", "is neither 1 nor 2")
	}
	longest := 0
	for _, raw := range f {
		longest = max(longest, len(raw))
	}
	buf := make([]byte, 0, longest+64) // reused for each member
	for i := range snsVersion {
		signed := true
		switch i {
		case snsSubject:
			signed = kind == "Notification"
		case snsSubscribeURL, snsToken:
			signed = kind != "Notification"
		}
		if !signed || f[i] == nil {
			continue
		}
		buf = append(append(buf[:0], snsPaths[i][0]...), '\n')
		text, reason := unescape(buf, f[i], cap(buf))
		if reason != "" {
			return 0, nil, unauthenticated(snsPaths[i][0], reason)
		}
		sum.Write(append(text, '\n'))
	}
	return algorithm, sum.Sum(nil), nil
}

var (
	certificatePath = regexp.MustCompile(`\A/SimpleNotificationService-[0-9a-zA-Z]{1,64}\.pem\z`)
	confirmPath     = regexp.MustCompile(`\A/\z`)
)

// checkAmazonURL rejects a URL that is not one of Amazon SNS on host. The error completes a
// sentence.
func checkAmazonURL(text, host string, path *regexp.Regexp) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || strings.Contains(text, "#") ||
		u.Host != host ||
		!path.MatchString(u.EscapedPath()) || path == certificatePath && strings.Contains(text, "?") {
		return errors.New("is not a URL of Amazon SNS in the region of the topic")
	}
	return nil
}

// snsReply confirms a subscription of a configured topic if the option Confirm is set. Otherwise
// the confirmation becomes an event, which has the URL for a person to open.
func snsReply(s *source, r *Request) (*Answer, error) {
	if !s.options.Confirm {
		return nil, nil
	}
	fields, err := findSNS(r.Body)
	if err != nil {
		return nil, err
	}
	kind, err1 := fields.text(snsType)
	topic, err2 := fields.text(snsTopicArn)
	if err := errors.Join(err1, err2); err != nil || kind != "SubscriptionConfirmation" {
		return nil, err
	}
	link, err1 := fields.text(snsSubscribeURL)
	host, err2 := snsHost(topic)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := checkAmazonURL(link, host, confirmPath); err != nil {
		return nil, &MalformedError{"SubscribeURL", err.Error()}
	}
	if err := s.options.Amazon.Confirm(link); err != nil {
		return nil, fmt.Errorf("%w: subscription of Amazon SNS: %w", ErrUnavailable, err)
	}
	return &Answer{Status: http.StatusOK}, nil
}
