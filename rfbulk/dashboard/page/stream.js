// The stream of frames: it begins again by itself, with patience, and ends when the server says so.

export function follow(path, { onFrame, onLink, onEnd }) {
  let delay = 1000;
  let lostAt = null;
  const begin = () => {
    const source = new EventSource(path);
    const again = () => {
      source.close();
      lostAt ??= new Date();
      onLink({ isOpen: false, lostAt });
      setTimeout(begin, delay * (0.75 + Math.random() / 2));
      delay = Math.min(10000, delay * 1.6);
    };
    source.onmessage = (event) => {
      delay = 1000;
      lostAt = null;
      onLink({ isOpen: true });
      onFrame(JSON.parse(event.data));
    };
    source.addEventListener("end", () => {
      source.close();
      onEnd();
    });
    source.onerror = again;
  };
  begin();
}
