// Follows a stream with the EventSource or the WebSocket that it is given: the same lines in a page and in Node.
// Everything goes to `tell` as it came: what was shown, by which name of event, and with which token.

// A native EventSource comes back by itself, or not at all.
export function followEvents(EventSource, url, names, tell) {
  const source = new EventSource(url);
  const show = ({type, data, lastEventId}) => tell({type, data, token: lastEventId});
  for (const name of ['message', ...names]) source.addEventListener(name, show);
  source.onopen = () => tell({now: 'open'});
  source.onerror = () => tell({now: source.readyState === EventSource.CLOSED ? 'closed' : 'connecting'});
}

// A WebSocket never comes back: this does, with the last position. Without a subscription the address has said it all.
export function followMessages(WebSocket, url, subscription, tell) {
  let position;
  const connect = () => {
    const socket = new WebSocket(url);
    socket.onopen = () => {
      tell({now: 'open'});
      if (subscription) socket.send(JSON.stringify({type: 'subscribe', ...subscription, position}));
    };
    socket.onmessage = ({data}) => {
      const frame = JSON.parse(data);
      // The service said hello before it was told where to begin.
      if (frame.type !== 'stream.hello') position = frame.position ?? position;
      tell({type: 'message', data, token: frame.position});
    };
    socket.onerror = () => {};
    socket.onclose = ({code}) => {
      tell({now: code === 1000 ? 'closed' : 'connecting'});
      if (code !== 1000) setTimeout(connect, 250);
    };
  };
  connect();
}
