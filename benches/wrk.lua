-- Load for `carteiro sim` from wrk: template messages of 450 bytes, every one with an id and a person of its own.
--
--   wrk -t1 -c64 -d10s -s benches/wrk.lua http://127.0.0.1:PORT -- --numbers 64
--
-- --numbers N        spread over N numbers, 100000000000001 and up (default 1)
-- --numbers A,B,...  spread over these phone_number_ids
-- --version V        version in the path (default v26.0)
-- --body N           bytes of a body (default 450)
--
-- Ids are ct1.wrk.0.<thread>.<counter>.0. No person comes twice (up to 160 million messages a thread), so neither
-- the pair limit nor the ledger's duplicates should ever speak up. No request waits for another script's state.

local AREAS = {
  11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 24, 27, 28, 31, 32, 33, 34, 35, 37, 38, 41, 42, 43, 44, 45, 46, 47, 48,
  49, 51, 53, 54, 55, 61, 62, 63, 64, 65, 66, 67, 68, 69, 71, 73, 74, 75, 77, 79, 81, 82, 83, 84, 85, 86, 87, 88, 89,
  91, 92, 93, 94, 95, 96, 97, 98, 99,
}
-- Subscribers per area code and thread: 8 digits from 60000000 on, in one block for each of 16 threads.
local SUBSCRIBERS = 2400000

local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

local heads, opening, middle, closing = {}, nil, nil, nil
local counter = 0

local function parse(args)
  local options = { numbers = "1", version = "v26.0", body = "450" }
  local i = 0
  while args[i] do
    local name = args[i]:match("^%-%-(%a+)$")
    if name and options[name] and args[i + 1] then
      options[name] = args[i + 1]
      i = i + 1
    elseif name then
      error("unknown or incomplete option " .. args[i])
    end
    i = i + 1
  end
  local list = {}
  if #options.numbers <= 4 then
    for n = 1, tonumber(options.numbers) do
      list[n] = string.format("%d", 100000000000000 + n)
    end
  else
    for number in options.numbers:gmatch("[^,]+") do
      list[#list + 1] = number
    end
  end
  return list, options.version, tonumber(options.body)
end

function init(args)
  local numbers, version, length = parse(args)
  opening = '{"messaging_product":"whatsapp","recipient_type":"individual","to":"+55'
  middle = '","type":"template","template":{"name":"aviso_vencimento","language":{"code":"pt_BR"},"components":['
    .. '{"type":"body","parameters":[{"type":"text","text":"Ana"},{"type":"text","text":"R$ 150,75"},'
    .. '{"type":"text","text":"10/12/2026"},{"type":"text","text":"'
  closing = '"}]}]},"biz_opaque_callback_data":"ct1.wrk.0.' .. id .. "."
  -- 11 digits of phone, 9 of counter, and the end; what is missing to the length fills the last parameter.
  local fixed = #opening + 11 + #middle + #closing + 9 + #'.0"}'
  closing = string.rep("x", math.max(1, length - fixed)) .. closing
  length = math.max(fixed + 1, length)
  for n, number in ipairs(numbers) do
    heads[n] = "POST /" .. version .. "/" .. number .. "/messages HTTP/1.1\r\nHost: localhost\r\n"
      .. "Authorization: Bearer sim\r\nContent-Type: application/json\r\nContent-Length: " .. length .. "\r\n\r\n"
      .. opening
  end
end

function request()
  local n = counter
  counter = n + 1
  local subscriber = 60000000 + id * SUBSCRIBERS + math.floor(n / #AREAS) % SUBSCRIBERS
  return heads[n % #heads + 1] .. AREAS[n % #AREAS + 1] .. "9" .. subscriber .. middle .. closing
    .. (100000000 + n) .. '.0"}'
end
