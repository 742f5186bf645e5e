require "json"
require_relative "verify"

taken = JSON.parse($stdin.read).map do |given|
  verify(given["secret"], given["headers"], given["body"], given["now"])
  true
rescue RuntimeError
  false
end
puts JSON.generate(taken)
