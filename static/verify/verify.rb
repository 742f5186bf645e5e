require "base64"
require "openssl"

# headers: a Hash with lower-case names; body: request.body.read
def verify(secret, headers, body, now = Time.now.to_i)
  key = Base64.strict_decode64(secret.delete_prefix("whsec_"))
  id, at = headers["webhook-id"], headers["webhook-timestamp"]
  raise "too old, or our clock is wrong" if (now - Integer(at, 10)).abs > 300
  expected = "v1," + Base64.strict_encode64(OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{at}.#{body}"))
  signed = headers["webhook-signature"].split(" ").any? do |given|
    given.bytesize == expected.bytesize && OpenSSL.fixed_length_secure_compare(expected, given)
  end
  raise "not signed with our secret" unless signed
end
