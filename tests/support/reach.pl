# Tries many connections in parallel from its place, and prints the result of each: `perl - COLUMN KIND PLACE ... < reach.pl`.
# Every Debian has Perl's base, and so have all containers of the lab; no other language is in all of them.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(inet_aton sockaddr_in unpack_sockaddr_in);

my $SECONDS = 2;
# The number of parallel probes: a container may have 64 processes.
my $CHILDREN = 20;

# Sends a text over TCP and returns the first part of the answer.
sub talk {
    my ($place, $text) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $place, Timeout => $SECONDS) or return undef;
    print $socket $text;
    $socket->flush;
    sysread($socket, my $answer, 4096);
    return $answer // "";
}

# Returns the status of an HTTP answer, 0 when there is none.
sub status {
    my ($place, $method, $path, $headers, $body) = @_;
    my $text = "$method $path HTTP/1.1\r\nHost: $place\r\n$headers" . "Content-Length: " . length($body) . "\r\n\r\n$body";
    return (talk($place, $text) // "") =~ m{^HTTP/1\.\d (\d+)} ? $1 : 0;
}

sub page {
    my ($status) = @_;
    return $status == 401 || $status == 403 || $status == 421 ? "refused" : $status ? "yes" : "no";
}

my %KINDS = (
    ssh => sub { (talk($_[0], "") // "") =~ /^SSH-/ ? "key" : "no" },
    metadata => sub {
        my $lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
        return status($_[0], "PUT", "/latest/api/token", $lifetime, "") == 200 ? "yes" : "no";
    },
    redis => sub {
        my $answer = talk($_[0], "PING\r\n") // "";
        return $answer =~ /^\+PONG/ ? "yes" : $answer =~ /^-NOAUTH/ ? "password" : "no";
    },
    redis_socket => sub {
        my $socket = IO::Socket::UNIX->new(Peer => $_[0]) or return "no";
        print $socket "PING\r\n";
        $socket->flush;
        sysread($socket, my $answer, 64);
        return ($answer // "") =~ /^\+PONG/ ? "yes" : ($answer // "") =~ /^-NOAUTH/ ? "password" : "no";
    },
    # Interprets a sentence without moving the robot.
    intent => sub {
        my $answer = page(status($_[0], "POST", "/intent", "Content-Type: application/json\r\n", '{"text": "status"}'));
        return $answer eq "refused" ? "token" : $answer;
    },
    http => sub { page(status($_[0], "GET", "/", "", "")) },
    ready => sub { page(status($_[0], "GET", "/v1/health/ready", "", "")) },
    # Requests a connection as Foxglove does.
    bridge => sub {
        my $asked = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            . "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: foxglove.sdk.v1\r\n";
        return page(status($_[0], "GET", "/", $asked, ""));
    },
    # Sends HTTP/2's connection preface, which gRPC servers answer at once.
    grpc => sub { length(talk($_[0], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0") // "") ? "yes" : "no" },
    docker => sub {
        my $socket = IO::Socket::UNIX->new(Peer => $_[0]) or return "no";
        print $socket "GET /_ping HTTP/1.0\r\n\r\n";
        $socket->flush;
        sysread($socket, my $answer, 64);
        return ($answer // "") =~ /^HTTP/ ? "yes" : "no";
    },
    docker_tcp => sub { page(status($_[0], "GET", "/_ping", "", "")) },
    file => sub {
        open(my $file, "<", $_[0]) or return "no";
        return read($file, my $text, 1) ? "yes" : "no";
    },
    # Whether this user can read secrets of other processes, from their environments or files.
    processes => sub {
        my ($names) = @_;
        for my $process (glob "/proc/[0-9]*") {
            next if $process eq "/proc/$$" || $process eq "/proc/self";
            if (open(my $file, "<", "$process/environ")) {
                local $/;
                return "yes" if (<$file> // "") =~ /$names/;
            }
            for my $secret (glob "$process/root/run/secrets/*") {
                return "yes" if $process ne "/proc/1" && open(my $file, "<", $secret);
            }
        }
        return "no";
    },
    # Announces itself as a participant of a DDS domain; another participant that receives this does the same.
    dds => sub {
        my ($address, $port) = split /:/, $_[0];
        my $way = IO::Socket::INET->new(Proto => "udp", PeerAddr => $address, PeerPort => $port) or return "no";
        my $own = $way->sockaddr;
        my $socket = IO::Socket::INET->new(Proto => "udp", LocalAddr => $way->sockhost) or return "no";
        my $prefix = pack("C2 x2 N2", 1, 16, $$, time);
        my $locator = pack("l< L< x12 a4", 1, $socket->sockport, $own);
        my $parameters = join "", map { pack("S< S< a*", $_->[0], length $_->[1], $_->[1]) } (
            [0x15, pack("C2 x2", 2, 1)], [0x16, pack("C2 x2", 1, 16)], [0x50, $prefix . pack("N", 0x1c1)],
            [0x58, pack("L<", 0xc3f)], [0x32, $locator], [0x31, $locator], [0x02, pack("l< L<", 10, 0)], [0x01, ""],
        );
        my $data = pack("S< S< N N l< L< N", 0, 16, 0x100c7, 0x100c2, 0, 1, 0x00030000) . $parameters;
        my $packet = "RTPS" . pack("C4", 2, 1, 1, 16) . $prefix . pack("C C S<", 0x15, 5, length $data) . $data;
        # Each participant of a host has its own port.
        send($socket, $packet, 0, sockaddr_in($port + 2 * $_, inet_aton($address))) for 0 .. 9;
        recv($socket, my $answer, 65536, 0);
        return ($answer // "") =~ /^RTPS/ ? "yes" : "no";
    },
);

$| = 1;
my $running = 0;
while (my ($column, $kind, $place) = splice @ARGV, 0, 3) {
    $running-- if $running == $CHILDREN && wait != -1;
    my $child = fork // die "fork: $!";
    if ($child) {
        $running++;
        next;
    }
    $SIG{ALRM} = sub { print "$column no\n"; exit };
    alarm $SECONDS;
    my $answer = $KINDS{$kind}->($place);
    alarm 0;
    print "$column $answer\n";
    exit;
}
1 while wait != -1;
