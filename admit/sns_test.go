package admit

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgate/hookgate"
)

// testAmazon has one certificate, and notes what it is asked.
type testAmazon struct {
	cert      *x509.Certificate
	err       error
	asked     []string
	confirmed []string
}

func (a *testAmazon) Certificate(url string) (*x509.Certificate, error) {
	a.asked = append(a.asked, url)
	return a.cert, a.err
}

func (a *testAmazon) Confirm(url string) error {
	a.confirmed = append(a.confirmed, url)
	return a.err
}

const (
	snsTopic = "arn:aws:sns:us-west-2:123456789012:MyTopic"
	snsCert  = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
	snsLink  = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription" +
		"&TopicArn=arn:aws:sns:us-west-2:123456789012:MyTopic&Token=2336412f37"
)

// The messages are those of docs.aws.amazon.com/sns, "Parsing message formats"; what is signed of
// them is written out as the page "Verifying the signatures" has it.
var (
	snsNotification = map[string]any{"Type": "Notification",
		"MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": snsTopic,
		"Subject": "My First Message",
		"Message": "Hello\nworld! \"é\"", "Timestamp": "2012-05-02T00:54:06.655Z",
		"SigningCertURL": snsCert, "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/" +
			"?Action=Unsubscribe"}
	snsNotificationSigned = "Message\nHello\nworld! \"é\"\nMessageId\n" +
		"22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\nSubject\nMy First Message\nTimestamp\n" +
		"2012-05-02T00:54:06.655Z\n" +
		"TopicArn\n" + snsTopic + "\nType\nNotification\n"
	snsConfirmation = map[string]any{"Type": "SubscriptionConfirmation",
		"MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b", "Token": "2336412f37", "TopicArn": snsTopic,
		"Message": "You have chosen to subscribe", "SubscribeURL": snsLink,
		"Timestamp": "2012-04-26T20:45:04.751Z", "SigningCertURL": snsCert}
	snsConfirmationSigned = "Message\nYou have chosen to subscribe\nMessageId\n" +
		"165545c9-2a5c-472c-8df2-7ff2be2b3b1b\nSubscribeURL\n" + snsLink +
		"\nTimestamp\n2012-04-26T20:45:04.751Z\nToken\n2336412f37\nTopicArn\n" + snsTopic +
		"\nType\nSubscriptionConfirmation\n"
)

// snsBody signs a message with changes made before and after.
func snsBody(t *testing.T, key *rsa.PrivateKey, version string, message map[string]any,
	signed string, changes map[string]any) []byte {
	t.Helper()
	algorithm, digest := crypto.SHA1, []byte(nil)
	if sum := sha1.Sum([]byte(signed)); version == "1" {
		digest = sum[:]
	} else {
		sum := sha256.Sum256([]byte(signed))
		algorithm, digest = crypto.SHA256, sum[:]
	}
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, algorithm, digest)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"SignatureVersion": version,
		"Signature": base64.StdEncoding.EncodeToString(signature)}
	for _, m := range []map[string]any{message, changes} {
		for name, value := range m {
			all[name] = value
		}
	}
	body, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// Goal: messages of the configured topics are taken, in both versions of the signature, and nothing
// else; a certificate is asked for only at Amazon's. Method: Amazon's documented messages with a
// key of the test, changed in each part.
func TestSNS(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	amazon := &testAmazon{cert: &x509.Certificate{PublicKey: key.Public()}}
	s := newForTest(t, "sns", Options{Topics: []string{"arn:aws:sns:us-west-2:1:Other", snsTopic},
		Amazon: amazon})
	request := func(body []byte) *Request {
		return &Request{Method: http.MethodPost, Header: header(topicHeader, snsTopic, "Content-Type",
			"text/plain; charset=UTF-8"), Body: body}
	}
	for _, version := range []string{"1", "2"} {
		got, err := admitOnce(s, request(snsBody(t, key, version, snsNotification, snsNotificationSigned,
			nil)))
		wantMessage(t, got, err, Message{"22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "Notification", snsTopic,
			hookgate.NoSequence, true})
		got, err = admitOnce(s, request(snsBody(t, key, version, snsConfirmation, snsConfirmationSigned,
			nil)))
		wantMessage(t, got, err, Message{"165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
			"SubscriptionConfirmation", snsTopic, hookgate.NoSequence, true})
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused := func(what string, r *Request, asks bool) {
		t.Helper()
		before := len(amazon.asked)
		if _, err := admitOnce(s, r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: error is %v", what, err)
		}
		if asked := len(amazon.asked) > before; asked != asks {
			t.Errorf("%s: a certificate is asked for: %v", what, asked)
		}
	}
	wantRefused("another key", request(snsBody(t, other, "2", snsNotification, snsNotificationSigned,
		nil)), true)
	for what, changes := range map[string]map[string]any{
		"message": {"Message": "x"}, "id": {"MessageId": "x"}, "subject": {"Subject": "x"},
		"no subject": {"Subject": nil}, "time": {"Timestamp": "2012-05-02T00:54:06.656Z"},
		"type": {"Type": "SubscriptionConfirmation"}, "truncated signature": {"Signature": "AAAA"},
	} {
		wantRefused(what, request(snsBody(t, key, "2", snsNotification, snsNotificationSigned, changes)),
			true)
	}
	for what, changes := range map[string]map[string]any{
		"another topic":     {"TopicArn": "arn:aws:sns:us-west-2:666:Evil"},
		"number as message": {"Message": 1}, "version": {"SignatureVersion": "3"},
		"no version":      {"SignatureVersion": nil},
		"empty signature": {"Signature": ""}, "no base64": {"Signature": "???"},
		"no certificate": {"SigningCertURL": nil},
	} {
		wantRefused(what, request(snsBody(t, key, "2", snsNotification, snsNotificationSigned, changes)),
			false)
	}
	for _, url := range []string{
		strings.Replace(snsCert, "https", "http", 1), "https://evil.com/SimpleNotificationService-a.pem",
		"https://sns.us-west-2.amazonaws.com.evil.com/SimpleNotificationService-a.pem",
		"https://evil.com/sns.us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.us-west-2.amazonaws.com@evil.com/SimpleNotificationService-a.pem",
		"https://sns.us-west-2.amazonaws.com:8443/SimpleNotificationService-a.pem",
		"https://s3.amazonaws.com/SimpleNotificationService-a.pem",
		"https://evil.sns.us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.us-west-2.amazonaws.com/other.pem",
		"https://sns.us-west-2.amazonaws.com/x/../SimpleNotificationService-a.pem", snsCert + "?x=1",
		snsCert + "#x", snsCert + "%0a",
		// Hosts that are, or could be, anyone's bucket, and those of another region or partition.
		"https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.s3.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.s3-website-us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.us-west-2.amazonaws.com.cn/SimpleNotificationService-a.pem",
		"https://SNS.us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
		"https://sns.us-west-2.amazonaws.com./SimpleNotificationService-a.pem", snsCert + "?", snsCert +
			"#",
		"https://sns.us-west-2.amazonaws.com\n/SimpleNotificationService-a.pem",
		"https://127.0.0.1/SimpleNotificationService-a.pem",
		"//sns.us-west-2.amazonaws.com/SimpleNotificationService-a.pem",
	} {
		wantRefused(url, request(snsBody(t, key, "2", snsNotification, snsNotificationSigned,
			map[string]any{"SigningCertURL": url})), false)
	}
	r := request(snsBody(t, key, "2", snsNotification, snsNotificationSigned, nil))
	r.Header.Set(topicHeader, "arn:aws:sns:us-west-2:666:Evil")
	wantRefused("header of another topic", r, false)
	r.Header.Del(topicHeader)
	wantRefused("no header", r, false)
	wantRefused("twice", request([]byte(strings.Replace(string(snsBody(t, key, "2", snsNotification,
		snsNotificationSigned, nil)), "{", `{"Type":"Notification",`, 1))), false)
	wantRefused("no JSON", request([]byte("x")), false)
	amazon.err = errors.New("no route")
	if _, err := admitOnce(s, request(snsBody(t, key, "2", snsNotification, snsNotificationSigned,
		nil))); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a certificate: %v", err)
	}
}

// Goal: a subscription is confirmed only where that is allowed, and only of a message that is
// authentic. Method: the same confirmation for both settings.
func TestSNSConfirmation(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, confirm := range []bool{false, true} {
		amazon := &testAmazon{cert: &x509.Certificate{PublicKey: key.Public()}}
		s := newForTest(t, "sns", Options{Topics: []string{snsTopic}, Amazon: amazon, Confirm: confirm})
		send := func(body []byte) (*Answer, error) {
			return greetOrReply(t, s, &Request{Method: http.MethodPost, Header: header(topicHeader,
				snsTopic), Body: body})
		}
		if a, err := send(snsBody(t, key, "1", snsConfirmation, snsConfirmationSigned,
			map[string]any{"Token": "x"})); a != nil || !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("a forged confirmation gives %+v, %v", a, err)
		}
		if a, err := send(snsBody(t, key, "1", snsNotification, snsNotificationSigned, nil)); a != nil ||
			err != nil {
			t.Errorf("a notification gives %+v, %v", a, err)
		}
		if len(amazon.confirmed) != 0 {
			t.Fatalf("confirmed %q", amazon.confirmed)
		}
		a, err := send(snsBody(t, key, "1", snsConfirmation, snsConfirmationSigned, nil))
		if err != nil || (a != nil) != confirm || (len(amazon.confirmed) == 1) != confirm {
			t.Errorf("confirm %v: got %+v, %v, confirmed %q", confirm, a, err, amazon.confirmed)
		}
		if confirm && amazon.confirmed[0] != snsLink {
			t.Errorf("confirmed %q", amazon.confirmed)
		}
	}
	if _, err := New("sns", Options{Amazon: &testAmazon{}}); err == nil ||
		!strings.Contains(err.Error(), "topics is missing") {
		t.Errorf("without topics: %v", err)
	}
}

// Goal: the host that Amazon's answers come from follows from the topic alone, and an ARN that
// names no host of Amazon SNS is refused at the start. Method: a table.
func TestSNSHost(t *testing.T) {
	for topic, want := range map[string]string{
		snsTopic: "sns.us-west-2.amazonaws.com",
		"arn:aws-cn:sns:cn-north-1:123456789012:T":         "sns.cn-north-1.amazonaws.com.cn",
		"arn:aws-us-gov:sns:us-gov-west-1:123456789012:T":  "sns.us-gov-west-1.amazonaws.com",
		"arn:aws:sns:ap-southeast-5:123456789012:T.fifo":   "sns.ap-southeast-5.amazonaws.com",
		"arn:aws-eusc:sns:eusc-de-east-1:123456789012:T":   "sns.eusc-de-east-1.amazonaws.eu",
		"arn:aws:sns:s3-us-west-2:123456789012:T":          "",
		"arn:aws:sns:s3:123456789012:T":                    "",
		"arn:aws:sns:us-west-2.evil.com/:123456789012:T":   "",
		"arn:evil:sns:us-west-2:123456789012:T":            "",
		"arn:aws:sqs:us-west-2:123456789012:T":             "",
		"arn:aws:sns:us-west-2:123456789012:T:subscripton": "",
		"MyTopic": "",
	} {
		got, err := snsHost(topic)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", topic, got, err)
		}
	}
	if _, err := New("sns", Options{Topics: []string{"MyTopic"}, Amazon: &testAmazon{}}); err == nil {
		t.Error("a topic that is no ARN is taken")
	}
}
